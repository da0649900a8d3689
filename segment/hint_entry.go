package segment

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// HintEntry is the newest record of a key in one file.
type HintEntry struct {
	Key    []byte // valid until the next entry is read from the same place
	Offset int64  // in the file, in bytes: where the record begins
	Size   int64  // of the record in the file, in bytes, with padding
	Seq    uint64 // the record's sequence number
	Flags  Flags  // those of the record that are among HintFlags
	Expiry int64  // Unix milliseconds, with Expires
}

const (
	flagBits     = 2 // below the size of the key; they hold HintFlags
	minEntrySize = 4 // four numbers of one byte
)

// appendEntry encodes a record for a hint, with its whole key and its whole sequence number. This
// is how a HintBuilder keeps it.
func appendEntry(out []byte, e Entry) []byte {
	out = binary.AppendUvarint(out, uint64(len(e.Key))<<flagBits|uint64(e.Flags&HintFlags))
	out = append(out, e.Key...)
	out = binary.AppendUvarint(out, uint64(e.Offset)/Alignment)
	out = binary.AppendUvarint(out, uint64(e.Size)/Alignment)
	out = binary.AppendUvarint(out, e.Seq)
	if e.Flags&Expires != 0 {
		out = binary.LittleEndian.AppendUint64(out, uint64(e.Expiry))
	}
	return out
}

// appendShort appends what appendEntry has encoded, without the first bytes of the key, and with a
// sequence number that counts from base. It also returns the size of the whole key.
func appendShort(out, entry []byte, prefix int, base uint64) (longer []byte, keySize int) {
	head, rest, _ := cutUvarint(entry)
	keySize = int(head >> flagBits)
	out = binary.AppendUvarint(out, head-uint64(prefix)<<flagBits)
	numbers := keySize // of rest: the offset and the size follow the key, and stay as they are
	for left := 2; left > 0; numbers++ {
		if rest[numbers] < 0x80 {
			left--
		}
	}
	out = append(out, rest[prefix:numbers]...)
	seq, rest, _ := cutUvarint(rest[numbers:])
	out = binary.AppendUvarint(out, seq-base)
	return append(out, rest...), keySize
}

// entrySize is the size of the entry that b starts with, which appendEntry has encoded.
func entrySize(b []byte) int {
	head, rest, _ := cutUvarint(b)
	size := len(b) - len(rest) + int(head>>flagBits)
	for left := 3; left > 0; size++ { // offset, size and sequence number
		if b[size] < 0x80 {
			left--
		}
	}
	if Flags(head)&Expires != 0 {
		size += expirySize
	}
	return size
}

// maxEntrySize bounds what appendEntry appends.
func maxEntrySize(keySize int) int {
	return 3 + keySize + 3*binary.MaxVarintLen64 + expirySize
}

// entryKey returns the key of the entry that b starts with, the entry's flags, and the bytes after
// the key. It returns false if b does not start with a valid key.
func entryKey(b []byte) (key []byte, flags Flags, rest []byte, ok bool) {
	head, rest, ok := cutUvarint(b)
	keySize := head >> flagBits
	if !ok || keySize > MaxKeySize || keySize > uint64(len(rest)) {
		return nil, 0, nil, false
	}
	return rest[:keySize:keySize], Flags(head) & HintFlags, rest[keySize:], true
}

// cutEntry cuts the first entry off b and sets e to it. Its key lacks the prefix of its part, and
// its sequence number counts from base in b. It returns false for bytes that no builder writes.
func cutEntry(e *HintEntry, b []byte, base uint64) (rest []byte, ok bool) {
	key, flags, rest, ok := entryKey(b)
	if !ok {
		return nil, false
	}
	offset, rest, ok := cutUvarint(rest)
	if !ok || offset > MaxOffset/Alignment {
		return nil, false
	}
	size, rest, ok := cutUvarint(rest)
	if !ok || size > math.MaxInt64/Alignment {
		return nil, false
	}
	seq, rest, ok := cutUvarint(rest)
	if !ok || seq > math.MaxUint64-base {
		return nil, false
	}
	// Field by field: a composite literal is made elsewhere and then copied, by reads that are wider
	// than the writes just before. A processor lets such a read wait for all earlier writes.
	e.Key, e.Offset, e.Size = key, int64(offset)*Alignment, int64(size)*Alignment
	e.Seq, e.Flags, e.Expiry = base+seq, flags, 0
	if flags&Expires != 0 {
		if len(rest) < expirySize {
			return nil, false
		}
		e.Expiry, rest = int64(binary.LittleEndian.Uint64(rest)), rest[expirySize:]
	}
	return rest, true
}

// cutUvarint cuts a number off b. It accepts only the encoding that binary.AppendUvarint writes,
// which is the shortest one.
func cutUvarint(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:], true
	}
	if len(b) >= 4 { // most numbers have 2 to 4 bytes; nobody can predict how many
		x := binary.LittleEndian.Uint32(b)
		if ends := ^x & 0x80808080; ends != 0 {
			size := bits.TrailingZeros32(ends)/8 + 1
			x &= ends ^ (ends - 1) // the bytes up to the first one that ends a number
			x = x&0x7f | x>>1&(0x7f<<7) | x>>2&(0x7f<<14) | x>>3&(0x7f<<21)
			return uint64(x), b[size:], b[size-1] != 0
		}
	}
	n, size := binary.Uvarint(b)
	if size <= 0 || b[size-1] == 0 {
		return 0, nil, false
	}
	return n, b[size:], true
}

// isWithin reports whether the record of an entry lies between a file's header and the given end of
// its records.
func (e *HintEntry) isWithin(end int64) bool {
	return e.Offset >= HeaderSize && e.Offset <= end && e.Size >= RecordHeaderSize && e.Size <= end-e.Offset
}

// HintEntrySize estimates what a record with a key of keySize bytes takes in a hint. It does not
// look at the size of the numbers, or at what the key has in common with its neighbours.
func HintEntrySize(keySize int) int64 { return int64(keySize) + typicalNumbersSize }

// typicalNumbersSize is what an entry typically takes beside its key: numbers of 1, 4, 1 and 3
// bytes, a place of 2, and a byte for its share of the part.
const typicalNumbersSize = 12
