package segment

import (
	"encoding/binary"
	"math"
)

// HintEntry is the newest record of a key in one file.
type HintEntry struct {
	Key    []byte // aliases the hint
	Offset int64  // in the file, in bytes: where the record begins
	Size   int64  // of the record in the file, in bytes, with padding
	Seq    uint64 // the record's sequence number
	Flags  Flags  // those of the record that are among HintFlags
	Expiry int64  // Unix milliseconds, with Expires
}

// appendEntry encodes a record for a hint.
func appendEntry(out []byte, e Entry) []byte {
	out = append(out, byte(e.Flags&HintFlags))
	out = binary.AppendUvarint(out, uint64(len(e.Key)))
	out = append(out, e.Key...)
	out = binary.AppendUvarint(out, uint64(e.Offset)/Alignment)
	out = binary.AppendUvarint(out, uint64(e.Size)/Alignment)
	out = binary.AppendUvarint(out, e.Seq)
	if e.Flags&Expires != 0 {
		out = binary.LittleEndian.AppendUint64(out, uint64(e.Expiry))
	}
	return out
}

// maxEntrySize bounds what appendEntry appends.
func maxEntrySize(keySize int) int {
	return 1 + 3 + keySize + 3*binary.MaxVarintLen64 + 8
}

// entryKey returns the key of the entry that b starts with, and the bytes after the key. It
// returns false if b does not start with a valid key.
func entryKey(b []byte) (key, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	keySize, rest, ok := cutUvarint(b[1:])
	if !ok || keySize > MaxKeySize || keySize > uint64(len(rest)) {
		return nil, nil, false
	}
	return rest[:keySize:keySize], rest[keySize:], true
}

// cutEntry cuts the first entry off b. It returns false for bytes that appendEntry cannot have
// written.
func cutEntry(b []byte) (e HintEntry, rest []byte, ok bool) {
	key, rest, ok := entryKey(b)
	if !ok {
		return e, nil, false
	}
	offset, rest, ok := cutUvarint(rest)
	if !ok || offset > MaxOffset/Alignment {
		return e, nil, false
	}
	size, rest, ok := cutUvarint(rest)
	if !ok || size > math.MaxInt64/Alignment {
		return e, nil, false
	}
	seq, rest, ok := cutUvarint(rest)
	if !ok {
		return e, nil, false
	}
	e = HintEntry{Key: key, Offset: int64(offset) * Alignment, Size: int64(size) * Alignment, Seq: seq, Flags: Flags(b[0])}
	if e.Flags&^HintFlags != 0 {
		return e, nil, false
	}
	if e.Flags&Expires != 0 {
		if len(rest) < 8 {
			return e, nil, false
		}
		e.Expiry, rest = int64(binary.LittleEndian.Uint64(rest)), rest[8:]
	}
	return e, rest, true
}

// cutUvarint cuts a number off b. It accepts only the encoding that binary.AppendUvarint writes,
// which is the shortest one.
func cutUvarint(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:], true
	}
	n, size := binary.Uvarint(b)
	if size <= 0 || b[size-1] == 0 {
		return 0, nil, false
	}
	return n, b[size:], true
}

// HintEntrySize estimates what a record with a key of keySize bytes takes in a hint. It does not
// look at the size of the numbers.
func HintEntrySize(keySize int) int64 { return int64(keySize) + typicalNumbersSize + directorySize }

// typicalNumbersSize is what an entry typically takes beside its key: a byte of flags, and numbers
// of 1, 4, 1 and 5 bytes.
const typicalNumbersSize = 12
