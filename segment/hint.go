package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"sort"

	"github.com/mmapkv/mmapkv/internal/bulk"
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

	// An entry is this, the key, and zeros up to the next multiple of Alignment.
	entryHeaderSize = 40
	entrySizeAt     = 8
	entrySeqAt      = 16
	entryExpiryAt   = 24
	entryKeySizeAt  = 32
	entryFlagsAt    = 34
	entryZeroAt     = 35

	// hintFlags are the flags that a hint knows: the others concern only recovery.
	hintFlags = Tombstone | Expires

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
	out := b.room(hintEntrySize(len(e.Key)))
	binary.LittleEndian.PutUint64(out, uint64(e.Offset))
	binary.LittleEndian.PutUint64(out[entrySizeAt:], uint64(e.Size))
	binary.LittleEndian.PutUint64(out[entrySeqAt:], e.Seq)
	binary.LittleEndian.PutUint64(out[entryExpiryAt:], uint64(e.Expiry))
	binary.LittleEndian.PutUint16(out[entryKeySizeAt:], uint16(len(e.Key)))
	out[entryFlagsAt] = byte(e.Flags & hintFlags)
	clear(out[entryZeroAt:entryHeaderSize])
	clear(out[entryHeaderSize+copy(out[entryHeaderSize:], e.Key):])
}

// room is size more bytes for an entry.
func (b *HintBuilder) room(size int) []byte {
	b.count++
	last := len(b.chunks) - 1
	switch {
	case last < 0:
		b.chunks, last = append(b.chunks, nil), 0
	case len(b.chunks[last])+size > chunkSize:
		b.chunks, last = append(b.chunks, make([]byte, 0, chunkSize)), last+1
	}
	chunk := &b.chunks[last]
	at := len(*chunk)
	*chunk = bulk.Grow(*chunk, size)[:at+size]
	return (*chunk)[at:]
}

// HintEntrySize is what a record with a key of keySize bytes takes in a hint.
func HintEntrySize(keySize int) int64 { return int64(hintEntrySize(keySize)) + directorySize }

// MaxHintSize bounds how long a hint is that covers so many bytes: an entry takes
// at most twice its record, and a range of damage twice its length, but for one
// that is shorter than a unit of the alignment.
func MaxHintSize(covered int64) int64 {
	return hintHeaderSize + hintSumSize + damageSize + 2*max(covered, 0)
}

// hintEntrySize is what an entry takes, with its key and padding.
func hintEntrySize(keySize int) int { return entryHeaderSize + int(padded(int64(keySize))) }

// AddDamage adds a range that cannot be read.
func (b *HintBuilder) AddDamage(d Damage) { b.damages = append(b.damages, d) }

// AddLost adds what an older hint of the same file says of records that lie in the
// damages, and in front of the end: what was damaged is still known to be there. The
// damages are in order.
func (b *HintBuilder) AddLost(older *Hint, end int64) {
	for i := range older.Len() {
		e := older.At(i)
		at, _ := slices.BinarySearchFunc(b.damages, e.Offset, func(d Damage, offset int64) int {
			return cmp.Compare(d.Offset+d.Length-1, offset)
		})
		if at < len(b.damages) && b.damages[at].Offset < e.Offset+e.Size && e.Offset+e.Size <= end {
			b.Add(Entry{Offset: e.Offset, Size: e.Size, Seq: e.Seq, Flags: e.Flags, Expiry: e.Expiry, Key: e.Key})
		}
	}
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

// Encode returns the hint of a file whose records end as covers says.
func (b *HintBuilder) Encode(id ID, salt uint64, covers End, watermark uint64) []byte {
	sorted := b.sorted()
	entryBytes := 0
	for _, s := range sorted {
		b.work(lookCost)
		entryBytes += hintEntrySize(len(b.key(s)))
	}
	out := make([]byte, hintHeaderSize, hintHeaderSize+entryBytes+len(sorted)*directorySize+len(b.damages)*damageSize+hintSumSize)
	copy(out, hintMagic)
	binary.LittleEndian.PutUint32(out[hintVersionAt:], formatVersion)
	binary.LittleEndian.PutUint32(out[hintDamagesAt:], uint32(len(b.damages)))
	binary.LittleEndian.PutUint64(out[hintIDAt:], uint64(id))
	binary.LittleEndian.PutUint64(out[hintCoversAt:], uint64(covers.Offset))
	binary.LittleEndian.PutUint64(out[hintSeqAt:], covers.Seq)
	binary.LittleEndian.PutUint64(out[hintWatermarkAt:], watermark)
	binary.LittleEndian.PutUint64(out[hintCountAt:], uint64(len(sorted)))
	binary.LittleEndian.PutUint64(out[hintBytesAt:], uint64(entryBytes))
	for _, s := range sorted {
		entry := b.entry(s)[:hintEntrySize(len(b.key(s)))]
		b.work(len(entry))
		out = append(out, entry...)
	}
	place := hintHeaderSize
	for _, s := range sorted {
		b.work(lookCost)
		out = binary.LittleEndian.AppendUint64(out, uint64(place))
		place += hintEntrySize(len(b.key(s)))
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

// HintSize is what the entries of an encoded hint take, as HintEntrySize counts
// them.
func HintSize(encoded []byte) int64 {
	return int64(binary.LittleEndian.Uint64(encoded[hintBytesAt:]) + directorySize*binary.LittleEndian.Uint64(encoded[hintCountAt:]))
}

func hintSum(content []byte, id ID, salt uint64) uint32 {
	return hintSeal(crc32.Update(0, castagnoli, content), id, salt)
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
	place  uint32 // of the entry, in units of Alignment, as if all chunks were full
}

// entry is what begins with an entry.
func (b *HintBuilder) entry(s sortItem) []byte {
	at := int(s.place) * Alignment
	return b.chunks[at/chunkSize][at%chunkSize:]
}

func (b *HintBuilder) key(s sortItem) []byte {
	e := b.entry(s)
	return e[entryHeaderSize:][:binary.LittleEndian.Uint16(e[entryKeySizeAt:])]
}

func (b *HintBuilder) seq(s sortItem) uint64 {
	return binary.LittleEndian.Uint64(b.entry(s)[entrySeqAt:])
}

// sorted is the newest entry of each key, by key.
func (b *HintBuilder) sorted() []sortItem {
	items := b.items()
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

// items finds the entries, in the order they were added.
func (b *HintBuilder) items() []sortItem {
	items := make([]sortItem, 0, b.count)
	for i, chunk := range b.chunks {
		for at := 0; at < len(chunk); {
			b.work(lookCost)
			item := sortItem{place: uint32((i*chunkSize + at) / Alignment)}
			items = append(items, item)
			at += hintEntrySize(len(b.key(item)))
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
	damages   []byte
}

// ReadHintCount reads how many keys a hint of size bytes says that it has, at most
// as many as fit. Nothing is verified.
func ReadHintCount(r io.ReaderAt, size int64) (int, error) {
	var header [hintHeaderSize]byte
	if n, err := r.ReadAt(header[:], 0); n < len(header) {
		return 0, err
	}
	fitting := uint64(size-hintHeaderSize) / (entryHeaderSize + directorySize)
	return int(min(binary.LittleEndian.Uint64(header[hintCountAt:]), fitting)), nil
}

// ParseHint checks a whole hint: that it is the segment's, that it is what was
// written, and every length in it.
func ParseHint(data []byte, id ID, salt uint64) (*Hint, error) {
	if len(data) < hintHeaderSize+hintSumSize || string(data[:len(hintMagic)]) != hintMagic {
		return nil, ErrHint
	}
	if err := checkVersion(binary.LittleEndian.Uint32(data[hintVersionAt:])); err != nil {
		return nil, err
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
	if h.ID != id || h.Covers.Offset < 0 || entryBytes > left || count > (left-entryBytes)/directorySize ||
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

// check walks the entries and the damages: each entry begins where the directory
// says, fits, and has a key above the one before; both lie in the covered part of
// the file; and nothing is set that no builder sets.
func (h *Hint) check() bool {
	rest := h.entries[hintHeaderSize:]
	var previous []byte
	for directory := h.directory; len(directory) > 0; directory = directory[directorySize:] {
		at := len(h.entries) - len(rest)
		if binary.LittleEndian.Uint64(directory) != uint64(at) || len(rest) < entryHeaderSize {
			return false
		}
		keySize := int(binary.LittleEndian.Uint16(rest[entryKeySizeAt:]))
		size := hintEntrySize(keySize)
		if size > len(rest) || !h.placed(rest) || !tidy(rest[:size], keySize) {
			return false
		}
		key := rest[entryHeaderSize:][:keySize]
		if at > hintHeaderSize && bytes.Compare(previous, key) >= 0 {
			return false
		}
		previous, rest = key, rest[size:]
	}
	for b := h.damages; len(b) > 0; b = b[damageSize:] {
		offset, length := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		if length == 0 || offset > uint64(h.Covers.Offset) || length > uint64(h.Covers.Offset)-offset {
			return false
		}
	}
	return len(rest) == 0
}

// placed says whether an entry's record can lie where it says.
func (h *Hint) placed(entry []byte) bool {
	covered := uint64(h.Covers.Offset)
	offset, size := binary.LittleEndian.Uint64(entry), binary.LittleEndian.Uint64(entry[entrySizeAt:])
	return (offset|size)%Alignment == 0 && offset >= HeaderSize && offset <= min(covered, MaxOffset) &&
		size >= RecordHeaderSize && size <= covered-offset
}

// tidy says whether an entry's flags are known and all that means nothing is 0.
func tidy(entry []byte, keySize int) bool {
	// The bytes from the key's size on are one word, zeros above the flags.
	word := binary.LittleEndian.Uint64(entry[entryKeySizeAt:])
	if word>>(8*(entryZeroAt-entryKeySizeAt)) != 0 || Flags(entry[entryFlagsAt])&^hintFlags != 0 {
		return false
	}
	for _, c := range entry[entryHeaderSize+keySize:] {
		if c != 0 {
			return false
		}
	}
	return true
}

// Len is the number of keys.
func (h *Hint) Len() int { return len(h.directory) / directorySize }

// At is the i-th entry by key.
func (h *Hint) At(i int) HintEntry {
	return h.entryAt(int(h.Place(i)))
}

// Place is where in the hint's file the i-th entry begins.
func (h *Hint) Place(i int) int64 {
	return int64(binary.LittleEndian.Uint64(h.directory[i*directorySize:]))
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
	for directory := h.directory; len(directory) > 0; directory = directory[directorySize:] {
		if !yield(h.entryAt(int(binary.LittleEndian.Uint64(directory)))) {
			return
		}
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
