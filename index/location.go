package index

import "github.com/mmapkv/mmapkv/internal/invariant"

// Location says in one word where a record is. From the highest bit down, it has the slot of the
// segment in the store's table (20 bits), the record's offset in 8-byte units (29 bits) and its
// size in 8-byte units (15 bits). Of two locations the greater one has the higher slot, or in the
// same slot the higher offset. The zero Location is NoLocation.
type Location uint64

// NoLocation is the location of an absent key. No record has it: a segment begins with its header,
// so no record is at offset 0.
const NoLocation Location = 0

// MaxSlots is the number of segment slots that a Location can address.
const MaxSlots = 1 << slotBits

const (
	slotBits   = 20
	offsetBits = 29
	sizeBits   = 15

	unit        = 8 // bytes; offsets and sizes are multiples of it
	sizeUnknown = 1<<sizeBits - 1
	offsetMask  = 1<<offsetBits - 1
)

// MakeLocation packs a location. offset is in bytes, a multiple of 8 below 4 GiB. slot is below
// MaxSlots. size is the record's size in bytes: 0 makes a placeholder for a tombstone. A negative
// size, or one above 262,128, is stored as unknown.
func MakeLocation(slot uint32, offset, size int64) Location {
	if invariant.Enabled {
		invariant.Check(slot < MaxSlots, "location: slot %d", slot)
		invariant.Check(offset > 0 && offset%unit == 0 && offset/unit <= offsetMask, "location: offset %d", offset)
	}
	sizeUnits := uint64(sizeUnknown)
	if size >= 0 && size <= (sizeUnknown-1)*unit {
		sizeUnits = uint64(size+unit-1) / unit
	}
	return Location(uint64(slot)<<(offsetBits+sizeBits) | uint64(offset/unit)<<sizeBits | sizeUnits)
}

// Slot is the segment's slot in the store's table.
func (l Location) Slot() uint32 { return uint32(l >> (offsetBits + sizeBits)) }

// Offset is where the record begins in its segment, in bytes.
func (l Location) Offset() int64 { return int64(l>>sizeBits&offsetMask) * unit }

// Size is the record's size in bytes; known is false if only the record has it.
func (l Location) Size() (size int64, known bool) {
	sizeUnits := int64(l & sizeUnknown)
	if sizeUnits == sizeUnknown {
		return 0, false
	}
	return sizeUnits * unit, true
}

// Unsized is the location with the size unknown. Of a placeholder, it is where the tombstone or the
// expired record lies.
func (l Location) Unsized() Location { return l | sizeUnknown }

// Tombstone reports whether l is a placeholder for a key that was deleted or has expired. Such
// locations exist only while a store loads.
func (l Location) Tombstone() bool { return l&sizeUnknown == 0 }
