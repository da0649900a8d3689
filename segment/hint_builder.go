package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/prefetch"
)

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
