package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
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
	hintBytesAt     = 56

	// An entry is offset, size, sequence number, expiry, key size, flags, padding
	// and the key.
	entryHeaderSize = 40
	entrySizeAt     = 8
	entrySeqAt      = 16
	entryExpiryAt   = 24
	entryKeySizeAt  = 32
	entryFlagsAt    = 34

	directorySize = 8 // of one entry's place
	damageSize    = 16
	hintSumSize   = 8
)

// HintEntry is the newest record of a key in one file.
type HintEntry struct {
	Key          []byte // aliases the hint
	Offset, Size int64
	Seq          uint64
	Flags        Flags
	Expiry       int64
}

// Damage is a range of a file that the log says was written and synced, and that
// cannot be read.
type Damage struct{ Offset, Length int64 }

// HintBuilder collects the records of a file. The zero value is ready.
type HintBuilder struct {
	keys    []byte // of all entries, one after the other
	entries []hintEntry
	damages []Damage
}

type hintEntry struct {
	prefix       uint64 // the key's first bytes, big-endian, to compare
	keyAt        int
	keySize      int
	offset, size int64
	seq          uint64
	expiry       int64
	flags        Flags
}

// NewHintBuilder returns an empty builder.
func NewHintBuilder() *HintBuilder { return &HintBuilder{} }

// Add adds a record; of several of one key, Encode keeps the one with the
// highest number.
func (b *HintBuilder) Add(e Entry) {
	h := hintEntry{
		keyAt: len(b.keys), keySize: len(e.Key), offset: e.Offset, size: e.Size,
		seq: e.Seq, expiry: e.Expiry, flags: e.Flags & (Tombstone | Expires),
	}
	var first [8]byte
	copy(first[:], e.Key)
	h.prefix = binary.BigEndian.Uint64(first[:])
	b.keys = append(b.keys, e.Key...)
	b.entries = append(b.entries, h)
}

// AddDamage adds a range that cannot be read.
func (b *HintBuilder) AddDamage(d Damage) { b.damages = append(b.damages, d) }

// BuildHint collects the records of the bytes [from, to) of a file, checking each
// of them. What cannot be read between them, or behind the last one, is damage.
func BuildHint(r io.ReaderAt, salt uint64, from, to int64) (*HintBuilder, error) {
	b := NewHintBuilder()
	s := NewScanner(r, salt, from, to)
	var last uint64
	for {
		reached := s.Offset()
		e, err := s.Next()
		if errors.Is(err, ErrBadRecord) {
			e, err = s.Resync(last + 1)
			switch {
			case err == nil:
				b.AddDamage(Damage{reached, e.Offset - reached})
			case err == io.EOF:
				b.AddDamage(Damage{reached, to - reached})
			}
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		last = e.Seq
		b.Add(e)
	}
}

func (b *HintBuilder) key(e *hintEntry) []byte { return b.keys[e.keyAt:][:e.keySize] }

// Encode returns the hint of a file whose records end as covers says.
func (b *HintBuilder) Encode(id ID, salt uint64, covers End, watermark uint64) []byte {
	b.sortEntries()
	size := hintHeaderSize + len(b.damages)*damageSize + hintSumSize
	for i := range b.entries {
		size += directorySize + entryHeaderSize + int(padded(int64(b.entries[i].keySize)))
	}
	out := make([]byte, hintHeaderSize, size)
	directory := make([]byte, 0, len(b.entries)*directorySize)
	for i := range b.entries {
		directory = binary.LittleEndian.AppendUint64(directory, uint64(len(out)))
		out = b.appendEntry(out, &b.entries[i])
	}
	entryBytes := len(out) - hintHeaderSize
	out = append(out, directory...)
	for _, d := range b.damages {
		out = binary.LittleEndian.AppendUint64(out, uint64(d.Offset))
		out = binary.LittleEndian.AppendUint64(out, uint64(d.Length))
	}
	copy(out, hintMagic)
	binary.LittleEndian.PutUint32(out[hintVersionAt:], formatVersion)
	binary.LittleEndian.PutUint32(out[hintDamagesAt:], uint32(len(b.damages)))
	binary.LittleEndian.PutUint64(out[hintIDAt:], uint64(id))
	binary.LittleEndian.PutUint64(out[hintCoversAt:], uint64(covers.Offset))
	binary.LittleEndian.PutUint64(out[hintSeqAt:], covers.Seq)
	binary.LittleEndian.PutUint64(out[hintWatermarkAt:], watermark)
	binary.LittleEndian.PutUint64(out[hintCountAt:], uint64(len(b.entries)))
	binary.LittleEndian.PutUint64(out[hintBytesAt:], uint64(entryBytes))
	return binary.LittleEndian.AppendUint64(out, uint64(hintSum(out, id, salt)))
}

func hintSum(content []byte, id ID, salt uint64) uint32 {
	return seal(crc32.Update(0, castagnoli, content), salt, int64(id), roleHint)
}

// sortEntries sorts by key and keeps the newest of each.
func (b *HintBuilder) sortEntries() {
	slices.SortFunc(b.entries, func(x, y hintEntry) int {
		if c := cmp.Compare(x.prefix, y.prefix); c != 0 {
			return c
		}
		if c := bytes.Compare(b.key(&x), b.key(&y)); c != 0 {
			return c
		}
		return cmp.Compare(y.seq, x.seq)
	})
	b.entries = slices.CompactFunc(b.entries, func(x, y hintEntry) bool {
		return x.prefix == y.prefix && bytes.Equal(b.key(&x), b.key(&y))
	})
}

func (b *HintBuilder) appendEntry(out []byte, e *hintEntry) []byte {
	at := len(out)
	out = append(out, make([]byte, entryHeaderSize)...)
	head := out[at:]
	binary.LittleEndian.PutUint64(head, uint64(e.offset))
	binary.LittleEndian.PutUint64(head[entrySizeAt:], uint64(e.size))
	binary.LittleEndian.PutUint64(head[entrySeqAt:], e.seq)
	binary.LittleEndian.PutUint64(head[entryExpiryAt:], uint64(e.expiry))
	binary.LittleEndian.PutUint16(head[entryKeySizeAt:], uint16(e.keySize))
	head[entryFlagsAt] = byte(e.flags)
	out = append(out, b.key(e)...)
	return append(out, zeros[:padded(int64(e.keySize))-int64(e.keySize)]...)
}

// Hint is a parsed hint, all of whose lengths are checked.
type Hint struct {
	ID        ID
	Covers    End    // where the file's records ended when it was written
	Watermark uint64 // all up to it was on disk then

	entries   []byte // with the header in front, so that places are offsets into it
	directory []byte
	damages   []byte
}

// ParseHint checks a whole hint: that it is the segment's, that it is what was
// written, and every length in it.
func ParseHint(data []byte, id ID, salt uint64) (*Hint, error) {
	if len(data) < hintHeaderSize+hintSumSize || string(data[:len(hintMagic)]) != hintMagic {
		return nil, ErrHint
	}
	if v := binary.LittleEndian.Uint32(data[hintVersionAt:]); v != formatVersion {
		return nil, versionError(v)
	}
	body := data[:len(data)-hintSumSize]
	if binary.LittleEndian.Uint64(data[len(body):]) != uint64(hintSum(body, id, salt)) {
		return nil, ErrHint
	}
	h := &Hint{
		ID:        ID(binary.LittleEndian.Uint64(data[hintIDAt:])),
		Covers:    End{int64(binary.LittleEndian.Uint64(data[hintCoversAt:])), binary.LittleEndian.Uint64(data[hintSeqAt:])},
		Watermark: binary.LittleEndian.Uint64(data[hintWatermarkAt:]),
	}
	count := binary.LittleEndian.Uint64(data[hintCountAt:])
	entryBytes := binary.LittleEndian.Uint64(data[hintBytesAt:])
	damages := uint64(binary.LittleEndian.Uint32(data[hintDamagesAt:]))
	left := uint64(len(body) - hintHeaderSize)
	if h.ID != id || entryBytes > left || count > (left-entryBytes)/directorySize ||
		left-entryBytes-count*directorySize != damages*damageSize {
		return nil, ErrHint
	}
	h.entries = body[:hintHeaderSize+entryBytes]
	h.directory = body[len(h.entries):][:count*directorySize]
	h.damages = body[len(h.entries)+len(h.directory):]
	if !h.check() {
		return nil, ErrHint
	}
	return h, nil
}

// check walks the entries: each begins where the directory says, fits, lies in
// the covered part of the file, and has a key above the one before.
func (h *Hint) check() bool {
	at := hintHeaderSize
	var previous []byte
	for i := range h.Len() {
		if binary.LittleEndian.Uint64(h.directory[i*directorySize:]) != uint64(at) || len(h.entries)-at < entryHeaderSize {
			return false
		}
		keySize := int(binary.LittleEndian.Uint16(h.entries[at+entryKeySizeAt:]))
		if int(padded(int64(keySize))) > len(h.entries)-at-entryHeaderSize {
			return false
		}
		e := h.entryAt(at)
		if e.Offset < HeaderSize || e.Offset%Alignment != 0 || e.Offset > MaxOffset || e.Size < RecordHeaderSize ||
			e.Size%Alignment != 0 || e.Offset > h.Covers.Offset || e.Size > h.Covers.Offset-e.Offset ||
			i > 0 && bytes.Compare(previous, e.Key) >= 0 {
			return false
		}
		previous = e.Key
		at += entryHeaderSize + int(padded(int64(keySize)))
	}
	return at == len(h.entries)
}

// Len is the number of keys.
func (h *Hint) Len() int { return len(h.directory) / directorySize }

// At is the i-th entry by key.
func (h *Hint) At(i int) HintEntry {
	return h.entryAt(int(binary.LittleEndian.Uint64(h.directory[i*directorySize:])))
}

func (h *Hint) entryAt(at int) HintEntry {
	b := h.entries[at:]
	return HintEntry{
		Offset: int64(binary.LittleEndian.Uint64(b)),
		Size:   int64(binary.LittleEndian.Uint64(b[entrySizeAt:])),
		Seq:    binary.LittleEndian.Uint64(b[entrySeqAt:]),
		Expiry: int64(binary.LittleEndian.Uint64(b[entryExpiryAt:])),
		Flags:  Flags(b[entryFlagsAt]),
		Key:    b[entryHeaderSize:][:binary.LittleEndian.Uint16(b[entryKeySizeAt:])],
	}
}

// Find looks a key up.
func (h *Hint) Find(key []byte) (HintEntry, bool) {
	i, found := sort.Find(h.Len(), func(i int) int { return bytes.Compare(key, h.At(i).Key) })
	if !found {
		return HintEntry{}, false
	}
	return h.At(i), true
}

// Entries yields all entries by key.
func (h *Hint) Entries(yield func(HintEntry) bool) {
	for at := hintHeaderSize; at < len(h.entries); {
		e := h.entryAt(at)
		if !yield(e) {
			return
		}
		at += entryHeaderSize + int(padded(int64(len(e.Key))))
	}
}

// Damages lists the ranges of the file that cannot be read.
func (h *Hint) Damages() []Damage {
	var list []Damage
	for b := h.damages; len(b) > 0; b = b[damageSize:] {
		list = append(list, Damage{int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))})
	}
	return list
}
