package segment

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/invariant"
)

// Draft is one write, a record or a batch, encoded outside every lock. Finish fills in what only
// the leader of a group commit knows: the place and the sequence numbers. The zero value is ready
// to use. A Draft is not safe for concurrent use.
type Draft struct {
	buffer  []byte
	entries []draftEntry
	start   int // in buffer, of the first record, after Finish
}

type draftEntry struct {
	keyAt     int // in buffer
	keySize   int
	valueSize int
	rawSum    uint32 // CRC-32C of the value
	flags     Flags
	expiry    int64
}

// keptBuffer is the size, in bytes, of the largest buffer that Reset keeps for reuse.
const keptBuffer = 1 << 20

// Reset empties the draft for reuse.
func (d *Draft) Reset() {
	d.buffer, d.entries, d.start = d.buffer[:0], d.entries[:0], 0
	if cap(d.buffer) > keptBuffer {
		d.buffer = nil
	}
	if cap(d.entries) > keptBuffer/64 {
		d.entries = nil
	}
}

// Put adds a pair and copies it. expiry is in Unix milliseconds, 0 for never.
func (d *Draft) Put(key, value []byte, expiry int64) {
	var flags Flags
	if expiry != 0 {
		flags = Expires
	}
	d.add(key, value, flags, expiry)
}

// Delete adds a tombstone.
func (d *Draft) Delete(key []byte) { d.add(key, nil, Tombstone, 0) }

func (d *Draft) add(key, value []byte, flags Flags, expiry int64) {
	invariant.Check(len(key) <= MaxKeySize && uint64(len(value)) <= MaxValueSize, "a record over the limits")
	// Leave room for the header; for the first record, also for every extension it may get.
	keyAt := RecordHeaderSize + flags.extension()
	if len(d.entries) == 0 {
		keyAt += MaxExtra
	}
	valueAt := keyAt + len(key)
	size := keyAt + int(padded(int64(len(key))+int64(len(value))))
	at := len(d.buffer)
	d.buffer = bulk.Grow(d.buffer, size)
	record := d.buffer[at : at+size]
	// key and value may be mapped memory that faults. The draft is then unchanged.
	copy(record[keyAt:], key)
	bulk.Copy(record[valueAt:], value)
	clear(record[valueAt+len(value):])
	d.buffer = d.buffer[:at+size]
	d.entries = append(d.entries, draftEntry{
		keyAt: at + keyAt, keySize: len(key), valueSize: len(value), flags: flags, expiry: expiry,
		// Sum the copy: the caller's memory may change at any time.
		rawSum: crc32.Update(0, castagnoli, record[valueAt:][:len(value)]),
	})
}

// SetExpiry changes the expiry of an entry that was given one.
func (d *Draft) SetExpiry(i int, expiry int64) { d.entries[i].expiry = expiry }

// Len is the number of entries.
func (d *Draft) Len() int { return len(d.entries) }

// Size bounds what the entries take in a file.
func (d *Draft) Size() int64 { return int64(len(d.buffer)) }

// EncodedSize is the length of what Finish returns.
func (d *Draft) EncodedSize(hasWatermark, hasPrevious bool) int64 {
	if len(d.entries) == 0 {
		return 0
	}
	size := int64(len(d.buffer) - MaxExtra)
	if hasWatermark {
		size += watermarkSize
	}
	if hasPrevious {
		size += previousSize
	}
	return size
}

// Key is the key of an entry.
func (d *Draft) Key(i int) []byte { return d.buffer[d.entries[i].keyAt:][:d.entries[i].keySize] }

// Value is the value of an entry, without room to grow.
func (d *Draft) Value(i int) []byte {
	e := &d.entries[i]
	at, end := e.keyAt+e.keySize, e.keyAt+e.keySize+e.valueSize
	return d.buffer[at:end:end]
}

// IsDelete says whether an entry is a tombstone.
func (d *Draft) IsDelete(i int) bool { return d.entries[i].flags&Tombstone != 0 }

// Expiry is the expiry of an entry in Unix milliseconds, 0 for never.
func (d *Draft) Expiry(i int) int64 { return d.entries[i].expiry }

// Placement is where a write goes, and what its first record says.
type Placement struct {
	Salt         uint64 // of the file
	Offset       int64  // in the file
	Seq          uint64 // of the first record; the others count up from it
	Watermark    uint64 // all records up to it are on disk; written only with HasWatermark
	HasWatermark bool   // the first record carries the watermark
	Previous     *End   // the end of the previous file; nil except in a file's first record
}

// first returns the flags that the placement adds to the first record.
func (p Placement) first() (flags Flags) {
	if p.HasWatermark {
		flags |= HasWatermark
	}
	if p.Previous != nil {
		flags |= HasPrevious
	}
	return flags
}

// Finish fills in the placement and returns the bytes to write there. They belong to the draft.
// Finish may be called again, for another placement.
func (d *Draft) Finish(p Placement) []byte {
	last := len(d.entries) - 1
	for i := range d.entries {
		e := &d.entries[i]
		flags := e.flags
		if i == 0 {
			flags |= p.first()
			d.start = e.keyAt - RecordHeaderSize - flags.extension()
		}
		if i < last {
			flags |= BatchGoesOn
		}
		at := e.keyAt - RecordHeaderSize - flags.extension()
		head := d.buffer[at : e.keyAt+e.keySize]
		offset := p.Offset + int64(at-d.start)
		encodeHead(head, flags, e.keySize, uint32(e.valueSize), e.rawSum, e.expiry, p.Seq+uint64(i), offset, p)
	}
	return d.buffer[d.start:]
}

// encodeHead writes the header and the extensions into head, which ends with the key.
func encodeHead(head []byte, flags Flags, keySize int, valueSize, rawSum uint32, expiry int64, seq uint64, offset int64, p Placement) {
	binary.LittleEndian.PutUint32(head[valueSumAt:], seal(rawSum, p.Salt, offset, roleValue))
	binary.LittleEndian.PutUint64(head[seqAt:], seq)
	binary.LittleEndian.PutUint32(head[valueSizeAt:], valueSize)
	binary.LittleEndian.PutUint16(head[keySizeAt:], uint16(keySize))
	head[flagsAt], head[zeroAt] = byte(flags), 0
	at := RecordHeaderSize
	if flags&Expires != 0 {
		binary.LittleEndian.PutUint64(head[at:], uint64(expiry))
		at += expirySize
	}
	if flags&HasWatermark != 0 {
		binary.LittleEndian.PutUint64(head[at:], p.Watermark)
		at += watermarkSize
	}
	if flags&HasPrevious != 0 {
		binary.LittleEndian.PutUint64(head[at:], uint64(p.Previous.Offset))
		binary.LittleEndian.PutUint64(head[at+8:], p.Previous.Seq)
	}
	sum := crc32.Update(0, castagnoli, head[valueSumAt:])
	binary.LittleEndian.PutUint32(head[headerSumAt:], seal(sum, p.Salt, offset, roleHeader))
}

// Position is the offset and the size of entry i in the file, after Finish placed the draft at
// offset.
func (d *Draft) Position(i int, offset int64) (at, size int64) {
	begin := d.start
	if i > 0 {
		begin = d.entries[i].keyAt - RecordHeaderSize - d.entries[i].flags.extension()
	}
	end := len(d.buffer)
	if i+1 < len(d.entries) {
		end = d.entries[i+1].keyAt - RecordHeaderSize - d.entries[i+1].flags.extension()
	}
	return offset + int64(begin-d.start), int64(end - begin)
}
