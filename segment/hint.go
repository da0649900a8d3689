package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"sort"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/prefetch"
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

// HintEntry is the newest record of a key in one file.
type HintEntry struct {
	Key          []byte // aliases the hint
	Offset, Size int64
	Seq          uint64
	Flags        Flags
	Expiry       int64
}

// Damage is a range of a file that cannot be read, although the log says that it was written and
// synced.
type Damage struct{ Offset, Length int64 }

// HintBuilder collects the records of a file. The zero value is ready to use.
type HintBuilder struct {
	// Pause, if set, is called about every 100 µs while BuildHint and Encode work. It may block.
	Pause func()

	chunks  [][]byte // of encoded entries, in the order they were added
	count   int      // of entries
	worked  int      // bytes since the last pause
	damages []Damage
}

// chunkSize is the size in bytes of a chunk of entries. Any entry fits into it. One slice for all
// entries would be copied again and again as it grows.
const chunkSize = 1 << 20

// NewHintBuilder returns an empty builder.
func NewHintBuilder() *HintBuilder { return &HintBuilder{} }

// Add adds a record and copies its key. Of several records with the same key, Encode keeps the one
// with the highest sequence number.
func (b *HintBuilder) Add(e Entry) {
	b.count++
	chunk := b.chunkFor(maxEntrySize(len(e.Key)))
	*chunk = appendEntry(*chunk, e)
}

// chunkFor returns a chunk with room for size more bytes.
func (b *HintBuilder) chunkFor(size int) *[]byte {
	last := len(b.chunks) - 1
	switch {
	case last < 0:
		b.chunks, last = append(b.chunks, nil), 0
	case len(b.chunks[last])+size > chunkSize:
		b.chunks, last = append(b.chunks, make([]byte, 0, chunkSize)), last+1
		prefetch.Pages(b.chunks[last])
	}
	chunk := &b.chunks[last]
	*chunk = bulk.Grow(*chunk, size)
	return chunk
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

// MaxHintSize bounds the size of a hint that covers the given number of bytes. An entry takes at
// most twice the size of its record, and a damaged range at most twice its length, except for one
// range that is shorter than Alignment.
func MaxHintSize(covered int64) int64 {
	return hintHeaderSize + hintSumSize + damageSize + 2*max(covered, 0)
}

// AddDamage adds a range that cannot be read. It must lie after the ranges added before.
func (b *HintBuilder) AddDamage(d Damage) { b.damages = append(b.damages, d) }

// AddLost adds the records that an older hint of the same file has in the damaged ranges and
// before end: their data is lost, but they are still known to exist. The damaged ranges are in
// order.
func (b *HintBuilder) AddLost(older *HintReader, end int64) error {
	for e, err := range older.Entries() {
		if err != nil {
			return err
		}
		at, _ := slices.BinarySearchFunc(b.damages, e.Offset, func(d Damage, offset int64) int {
			return cmp.Compare(d.Offset+d.Length-1, offset)
		})
		if at < len(b.damages) && b.damages[at].Offset < e.Offset+e.Size && e.Offset+e.Size <= end {
			b.Add(Entry{Offset: e.Offset, Size: e.Size, Seq: e.Seq, Flags: e.Flags, Expiry: e.Expiry, Key: e.Key})
		}
	}
	return nil
}

// Damaged reports whether a damaged range was added.
func (b *HintBuilder) Damaged() bool { return len(b.damages) > 0 }

// BuildHint collects and checks the records in the bytes [from, to) of a file. Bytes between them
// or after the last one that cannot be read are damage. pause, if not nil, becomes the builder's
// Pause.
func BuildHint(r io.ReaderAt, salt uint64, from, to int64, pause func()) (*HintBuilder, error) {
	b := &HintBuilder{Pause: pause}
	s := NewScanner(r, salt, from, to)
	s.pause = pause
	if err := s.Each(func(e Entry) bool {
		b.work(int(min(e.Size, pauseBytes)))
		b.Add(e)
		return true
	}, b.AddDamage); err != nil {
		return nil, err
	}
	return b, nil
}

// Encode returns the hint of a file whose records end at covers. It leaves out records that start
// at or after that offset.
func (b *HintBuilder) Encode(id ID, salt uint64, covers End, watermark uint64) []byte {
	sorted := b.sorted(covers.Offset)
	entryBytes := 0
	for _, s := range sorted {
		b.work(1)
		entryBytes += s.size()
	}
	out := make([]byte, hintHeaderSize, hintHeaderSize+entryBytes+len(sorted)*directorySize+len(b.damages)*damageSize+hintSumSize)
	prefetch.Pages(out)
	copy(out, hintMagic)
	binary.LittleEndian.PutUint32(out[hintVersionAt:], hintVersion)
	binary.LittleEndian.PutUint32(out[hintDamagesAt:], uint32(len(b.damages)))
	binary.LittleEndian.PutUint64(out[hintIDAt:], uint64(id))
	binary.LittleEndian.PutUint64(out[hintCoversAt:], uint64(covers.Offset))
	binary.LittleEndian.PutUint64(out[hintSeqAt:], covers.Seq)
	binary.LittleEndian.PutUint64(out[hintWatermarkAt:], watermark)
	binary.LittleEndian.PutUint64(out[hintCountAt:], uint64(len(sorted)))
	keyBytes := 0
	for i, s := range sorted {
		// The entries are scattered over the memory of the builder.
		if ahead := i + prefetch.Ahead; ahead < len(sorted) {
			b.prefetch(sorted[ahead])
		}
		entry := b.entry(s)
		b.work(len(entry))
		out = append(out, entry...)
		keyBytes += len(b.key(s))
	}
	binary.LittleEndian.PutUint64(out[hintKeyBytesAt:], uint64(keyBytes))
	place := hintHeaderSize
	for _, s := range sorted {
		b.work(directorySize)
		out = binary.LittleEndian.AppendUint32(out, uint32(place))
		place += s.size()
	}
	for _, d := range b.damages {
		out = binary.LittleEndian.AppendUint64(out, uint64(d.Offset))
		out = binary.LittleEndian.AppendUint64(out, uint64(d.Length))
	}
	sum := uint32(0)
	for piece := range slices.Chunk(out, pauseBytes) {
		b.work(len(piece))
		sum = crc32.Update(sum, castagnoli, piece)
	}
	return binary.LittleEndian.AppendUint64(out, uint64(hintSeal(sum, id, salt)))
}

// HintSize estimates what the entries of an encoded hint take, in terms of HintEntrySize.
func HintSize(encoded []byte) int64 {
	count, keyBytes := binary.LittleEndian.Uint64(encoded[hintCountAt:]), binary.LittleEndian.Uint64(encoded[hintKeyBytesAt:])
	return int64(keyBytes) + int64(count)*HintEntrySize(0)
}

func hintSeal(sum uint32, id ID, salt uint64) uint32 { return seal(sum, salt, int64(id), roleHint) }

// work counts the bytes processed, and calls Pause when it is due.
func (b *HintBuilder) work(bytes int) {
	if b.worked += bytes; b.worked >= pauseBytes && b.Pause != nil {
		b.worked = 0
		b.Pause()
	}
}

const (
	pauseBytes = 32 << 10 // work between two calls of Pause
	lookCost   = 32       // the cost of looking at an entry, in bytes of work
)

// sortItem stands for an entry while the builder sorts them. It is small, so moving it is cheap,
// and it usually decides a comparison without the entry.
type sortItem struct {
	prefix uint64 // the first 8 bytes of the key after the common prefix, big-endian, to compare
	place  uint64 // where the entry is if all chunks were full, above sizeBits bits that hold its size
}

// sizeBits is enough bits for the size of an entry.
const sizeBits = 17

func (s sortItem) size() int { return int(s.place & (1<<sizeBits - 1)) }

func (b *HintBuilder) entry(s sortItem) []byte {
	at := s.place >> sizeBits
	return b.chunks[at/chunkSize][at%chunkSize:][:s.size()]
}

// prefetch fetches the first and the last cache line of an entry: all of a short one.
func (b *HintBuilder) prefetch(s sortItem) {
	entry := b.entry(s)
	prefetch.Line(unsafe.Pointer(&entry[0]))
	prefetch.Line(unsafe.Pointer(&entry[len(entry)-1]))
}

func (b *HintBuilder) key(s sortItem) []byte {
	key, _, _ := entryKey(b.entry(s))
	return key
}

func (b *HintBuilder) seq(s sortItem) uint64 {
	e, _, _ := cutEntry(b.entry(s))
	return e.Seq
}

// sorted returns the newest entry of each key before offset end, in key order.
func (b *HintBuilder) sorted(end int64) []sortItem {
	items := b.items(end)
	common := b.commonPrefix(items)
	for i := range items {
		b.work(lookCost)
		var first [8]byte
		copy(first[:], b.key(items[i])[common:])
		items[i].prefix = binary.BigEndian.Uint64(first[:])
	}
	slices.SortFunc(items, func(x, y sortItem) int {
		b.work(lookCost)
		if x.prefix != y.prefix {
			return cmp.Compare(x.prefix, y.prefix)
		}
		keyX, keyY := b.key(x), b.key(y)
		b.work(min(len(keyX), len(keyY)))
		if c := bytes.Compare(keyX, keyY); c != 0 {
			return c
		}
		return cmp.Compare(b.seq(y), b.seq(x))
	})
	return slices.CompactFunc(items, func(x, y sortItem) bool {
		b.work(lookCost)
		return x.prefix == y.prefix && bytes.Equal(b.key(x), b.key(y))
	})
}

// items returns the entries before offset end, in the order they were added.
func (b *HintBuilder) items(end int64) []sortItem {
	items := make([]sortItem, 0, b.count)
	prefetch.Pages(items)
	for i, chunk := range b.chunks {
		for at := 0; at < len(chunk); {
			b.work(lookCost)
			e, rest, _ := cutEntry(chunk[at:])
			size := len(chunk) - at - len(rest)
			if e.Offset < end {
				items = append(items, sortItem{place: uint64(i*chunkSize+at)<<sizeBits | uint64(size)})
			}
			at += size
		}
	}
	return items
}

// commonPrefix is the length of the prefix that all keys share. Keys often do share one, so their
// first bytes cannot order them.
func (b *HintBuilder) commonPrefix(items []sortItem) int {
	if len(items) == 0 {
		return 0
	}
	common := b.key(items[0])
	for _, item := range items {
		key := b.key(item)
		b.work(lookCost + min(len(key), len(common)))
		for !bytes.HasPrefix(key, common) {
			common = common[:len(common)-1]
		}
	}
	return len(common)
}

// Hint is a parsed hint whose lengths were all checked.
type Hint struct {
	ID        ID
	Covers    End    // where the file's records ended when the hint was written
	Watermark uint64 // all records up to it were on disk then

	entries   []byte // preceded by the header, so that places are offsets into it
	directory []byte
	damages   []Damage
}

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
