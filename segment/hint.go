package segment

import (
	"bytes"
	"encoding/binary"
	"io"
	"sort"
)

const (
	hintMagic      = "MMKVHNT\x00"
	hintHeaderSize = 64

	hintVersionAt   = 8
	hintDamagesAt   = 12
	hintIDAt        = 16
	hintCoversAt    = 24
	hintSeqAt       = 32
	hintWatermarkAt = 40
	hintCountAt     = 48
	hintKeyBytesAt  = 56

	// hintVersion is the version of this format. Version 1, whose fields took 8 bytes each, was
	// never released, and nothing reads it.
	hintVersion = 2

	// HintFlags are the flags of a record that its hint stores. The others concern only recovery.
	HintFlags = Tombstone | Expires

	minEntrySize  = 5 // flags, and four numbers of one byte
	directorySize = 4 // per entry: its place
	damageSize    = 16
	hintSumSize   = 8
)

// Damage is a range of a file that cannot be read, although the log says that it was written and
// synced.
type Damage struct {
	Offset int64 // where the range begins
	Length int64 // in bytes
}

// MaxHintSize bounds the size of a hint that covers the given number of bytes. An entry takes at
// most twice the size of its record, and a damaged range at most twice its length, except for one
// range that is shorter than Alignment.
func MaxHintSize(covered int64) int64 {
	return hintHeaderSize + hintSumSize + damageSize + 2*max(covered, 0)
}

// HintSize estimates what the entries of an encoded hint take, in terms of HintEntrySize.
func HintSize(encoded []byte) int64 {
	count, keyBytes := binary.LittleEndian.Uint64(encoded[hintCountAt:]), binary.LittleEndian.Uint64(encoded[hintKeyBytesAt:])
	return int64(keyBytes) + int64(count)*HintEntrySize(0)
}

func hintSeal(sum uint32, id ID, salt uint64) uint32 { return seal(sum, salt, int64(id), roleHint) }

// ReadHintCount reads the number of keys from the header of a hint of size bytes, and limits it to
// as many as fit. It verifies nothing.
func ReadHintCount(r io.ReaderAt, size int64) (int, error) {
	var header [hintHeaderSize]byte
	if n, err := r.ReadAt(header[:], 0); n < len(header) {
		return 0, err
	}
	fitting := uint64(size-hintHeaderSize) / (minEntrySize + directorySize)
	return int(min(binary.LittleEndian.Uint64(header[hintCountAt:]), fitting)), nil
}

// checkHintHeader says what is wrong with the header of a hint.
func checkHintHeader(header []byte, id ID) error {
	if string(header[:len(hintMagic)]) != hintMagic {
		return ErrHint
	}
	if err := checkVersion(binary.LittleEndian.Uint32(header[hintVersionAt:]), hintVersion); err != nil {
		return err
	}
	if ID(binary.LittleEndian.Uint64(header[hintIDAt:])) != id {
		return ErrHint
	}
	return nil
}

// Hint is a parsed hint whose lengths were all checked.
type Hint struct {
	ID        ID     // of the segment
	Covers    End    // where the file's records ended when the hint was written
	Watermark uint64 // all records up to it were on disk then

	entries   []byte // preceded by the header, so that places are offsets into it
	directory []byte
	damages   []Damage
}

// ParseHint checks that a hint belongs to the segment and is what was written, checks every length
// in it, and decodes it.
func ParseHint(data []byte, id ID, salt uint64) (*Hint, error) {
	checked, err := OpenHint(bytes.NewReader(data), int64(len(data)), id, salt, nil)
	if err != nil {
		return nil, err
	}
	return &Hint{
		ID:        id,
		Covers:    checked.Covers,
		Watermark: checked.Watermark,
		entries:   data[:checked.entriesEnd],
		directory: data[checked.entriesEnd:checked.directoryEnd],
		damages:   checked.damages,
	}, nil
}

// Len is the number of keys.
func (h *Hint) Len() int { return len(h.directory) / directorySize }

// At is the i-th entry in key order.
func (h *Hint) At(i int) HintEntry {
	e, _, _ := cutEntry(h.entries[h.Place(i):])
	return e
}

// Key is the i-th key in order.
func (h *Hint) Key(i int) []byte {
	key, _, _ := entryKey(h.entries[h.Place(i):])
	return key
}

// Place is the offset in the hint's file at which the i-th entry begins.
func (h *Hint) Place(i int) int64 {
	return int64(binary.LittleEndian.Uint32(h.directory[i*directorySize:]))
}

// Find looks a key up.
func (h *Hint) Find(key []byte) (HintEntry, bool) {
	i, found := sort.Find(h.Len(), func(i int) int { return bytes.Compare(key, h.Key(i)) })
	if !found {
		return HintEntry{}, false
	}
	return h.At(i), true
}

// Entries yields all entries in key order.
func (h *Hint) Entries(yield func(HintEntry) bool) {
	for rest := h.entries[hintHeaderSize:]; len(rest) > 0; {
		var e HintEntry
		if e, rest, _ = cutEntry(rest); !yield(e) {
			return
		}
	}
}

// Damages lists the ranges of the file that cannot be read. The caller must not change the list.
func (h *Hint) Damages() []Damage { return h.damages }
