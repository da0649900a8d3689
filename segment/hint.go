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

	// hintVersion is the version of this format. Version 1, whose fields had 8 bytes
	// each, is that of no release; nothing reads it.
	hintVersion = 2

	// hintFlags are the flags that a hint knows: the others concern only recovery.
	hintFlags = Tombstone | Expires

	minEntrySize  = 5 // flags, and four numbers of one byte
	directorySize = 4 // of one entry's place
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
	// Pause, if set, is called every ten thousandth of a second or so that BuildHint
	// and Encode take: it may block.
	Pause func()

	chunks  [][]byte // of encoded entries, in the order they were added
	count   int      // of entries
	worked  int      // bytes since the last pause
	damages []Damage
}

// chunkSize is how many bytes of entries are together at most. All of them in one
// slice would be copied again and again as it grows. It holds any entry.
const chunkSize = 1 << 20

// NewHintBuilder returns an empty builder.
func NewHintBuilder() *HintBuilder { return &HintBuilder{} }

// Add adds a record, whose key it copies; of several of one key, Encode keeps
// the one with the highest number.
func (b *HintBuilder) Add(e Entry) {
	b.count++
	chunk := b.chunkFor(maxEntrySize(len(e.Key)))
	*chunk = appendEntry(*chunk, e)
}

// chunkFor returns a chunk that has room for size more bytes.
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
	out = append(out, byte(e.Flags&hintFlags))
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

// entryKey is the key of the entry that b begins with, and what is behind it. What
// is no entry has no key.
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

// cutEntry takes the entry off b that it begins with. What appendEntry cannot have
// written is none.
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
	if e.Flags&^hintFlags != 0 {
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

// cutUvarint takes a number off b, as binary.AppendUvarint writes it, and in no more
// bytes than that.
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

// HintEntrySize is about what a record with a key of keySize bytes takes in a hint:
// how many digits its numbers have is not looked at.
func HintEntrySize(keySize int) int64 { return int64(keySize) + typicalNumbersSize + directorySize }

// typicalNumbersSize is what an entry mostly has beside the key: a flag, and numbers of 1,
// 4, 1 and 5 bytes.
const typicalNumbersSize = 12

// MaxHintSize bounds how long a hint is that covers so many bytes: an entry takes
// at most twice its record, and a range of damage twice its length, but for one
// that is shorter than a unit of the alignment.
func MaxHintSize(covered int64) int64 {
	return hintHeaderSize + hintSumSize + damageSize + 2*max(covered, 0)
}

// AddDamage adds a range that cannot be read, behind those that were added.
func (b *HintBuilder) AddDamage(d Damage) { b.damages = append(b.damages, d) }

// AddLost adds what an older hint of the same file says of records that lie in the
// damages, and in front of the end: what was damaged is still known to be there. The
// damages are in order.
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

// Damaged says whether a damage was added.
func (b *HintBuilder) Damaged() bool { return len(b.damages) > 0 }

// BuildHint collects the records of the bytes [from, to) of a file, checking each
// of them. What cannot be read between them, or behind the last one, is damage.
// pause may be nil; otherwise it is the builder's Pause.
func BuildHint(r io.ReaderAt, salt uint64, from, to int64, pause func()) (*HintBuilder, error) {
	b := &HintBuilder{Pause: pause}
	s := NewScanner(r, salt, from, to)
	s.pause = pause
	add := func(e Entry) {
		b.work(int(min(e.Size, pauseBytes)))
		b.Add(e)
	}
	if err := s.all(add, b.AddDamage); err != nil {
		return nil, err
	}
	return b, nil
}

// Encode returns the hint of a file whose records end as covers says. What was added
// from behind that place is left out.
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
		// They lie all over the memory of the builder.
		if ahead := i + prefetchAhead; ahead < len(sorted) {
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

// HintSize is about what the entries of an encoded hint take, as HintEntrySize counts
// them.
func HintSize(encoded []byte) int64 {
	count, keyBytes := binary.LittleEndian.Uint64(encoded[hintCountAt:]), binary.LittleEndian.Uint64(encoded[hintKeyBytesAt:])
	return int64(keyBytes) + int64(count)*HintEntrySize(0)
}

func hintSeal(sum uint32, id ID, salt uint64) uint32 { return seal(sum, salt, int64(id), roleHint) }

// work counts work on so many bytes.
func (b *HintBuilder) work(bytes int) {
	if b.worked += bytes; b.worked >= pauseBytes && b.Pause != nil {
		b.worked = 0
		b.Pause()
	}
}

const (
	pauseBytes = 32 << 10 // between two calls of Pause
	lookCost   = 32       // of a look at an entry, in bytes
)

// sortItem stands for an entry of a builder while they are sorted: small, so
// that moving it is cheap, and mostly enough to compare without the entry.
type sortItem struct {
	prefix uint64 // of the key, behind what all keys begin with; big-endian, to compare
	place  uint64 // of the entry, as if all chunks were full, above the bits of its size
}

// sizeBits are enough for the size of an entry.
const sizeBits = 17

func (s sortItem) size() int { return int(s.place & (1<<sizeBits - 1)) }

func (b *HintBuilder) entry(s sortItem) []byte {
	at := s.place >> sizeBits
	return b.chunks[at/chunkSize][at%chunkSize:][:s.size()]
}

// prefetchAhead is for how many entries Encode has the memory on the way.
const prefetchAhead = 16

// prefetch asks for the memory of a short entry.
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

// sorted is the newest entry of each key in front of an offset, by key.
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

// items finds the entries in front of an offset, in the order they were added.
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

// commonPrefix is the length of what all keys begin with: often they are of one
// kind, and their first bytes tell nothing.
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

// Hint is a parsed hint, all of whose lengths are checked.
type Hint struct {
	ID        ID
	Covers    End    // where the file's records ended when it was written
	Watermark uint64 // all up to it was on disk then

	entries   []byte // with the header in front, so that places are offsets into it
	directory []byte
	damages   []Damage
}

// ReadHintCount reads how many keys a hint of size bytes says that it has, at most
// as many as fit. Nothing is verified.
func ReadHintCount(r io.ReaderAt, size int64) (int, error) {
	var header [hintHeaderSize]byte
	if n, err := r.ReadAt(header[:], 0); n < len(header) {
		return 0, err
	}
	fitting := uint64(size-hintHeaderSize) / (minEntrySize + directorySize)
	return int(min(binary.LittleEndian.Uint64(header[hintCountAt:]), fitting)), nil
}

// checkHintHeader says what is wrong with how a hint begins.
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

// ParseHint checks a whole hint: that it is the segment's, that it is what was
// written, and every length in it.
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

// At is the i-th entry by key.
func (h *Hint) At(i int) HintEntry {
	e, _, _ := cutEntry(h.entries[h.Place(i):])
	return e
}

// Key is the key of the i-th entry.
func (h *Hint) Key(i int) []byte {
	key, _, _ := entryKey(h.entries[h.Place(i):])
	return key
}

// Place is where in the hint's file the i-th entry begins.
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

// Entries yields all entries by key.
func (h *Hint) Entries(yield func(HintEntry) bool) {
	for rest := h.entries[hintHeaderSize:]; len(rest) > 0; {
		var e HintEntry
		if e, rest, _ = cutEntry(rest); !yield(e) {
			return
		}
	}
}

// Damages lists the ranges of the file that cannot be read. The list is the hint's.
func (h *Hint) Damages() []Damage { return h.damages }
