package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errno"
)

// anyHint is a hint of up to 200 keys that share beginnings, with numbers of all sizes.
func anyHint(random *rand.Rand) []byte {
	b := NewHintBuilder()
	offset, alphabet, longest := int64(HeaderSize), 1+random.IntN(4), []int{1, 3, 12, 40, 2500}[random.IntN(5)]
	for i := range random.IntN(200) {
		e := Entry{Offset: offset, Size: 24 + 8*random.Int64N(10), Seq: uint64(i + 1), Key: bytes.Repeat([]byte("c"), random.IntN(2)*9)}
		for range random.IntN(longest + 1) {
			e.Key = append(e.Key, byte(random.IntN(alphabet)))
		}
		if random.IntN(5) == 0 {
			e.Flags, e.Expiry = Expires, int64(i)
		}
		if random.IntN(20) == 0 {
			e.Seq = math.MaxUint64 - uint64(i)
		}
		b.Add(e)
		offset += e.Size
	}
	for range random.IntN(3) {
		b.AddDamage(Damage{offset, 16})
		offset += 16
	}
	return b.Encode(testHintID, testSalt, End{offset, math.MaxUint64}, 7)
}

// forge changes some bytes of a hint, most of them numbers of the header or the directory, and
// gives it valid checksums.
func forge(random *rand.Rand, data []byte) []byte {
	data = bytes.Clone(data)
	end := len(data) - hintSumSize
	directory := end - int(binary.LittleEndian.Uint32(data[hintPrefixAt:])) - damageSize*int(binary.LittleEndian.Uint32(data[hintDamagesAt:])) -
		directorySize*int(binary.LittleEndian.Uint32(data[hintPartsAt:]))
	for range 1 + random.IntN(3) {
		from, to := 0, len(data)
		switch random.IntN(4) {
		case 0:
			from, to = hintCoversAt, hintHeaderSize
		case 1:
			from, to = hintHeaderSize, min(hintHeaderSize+64, end) // places
		case 2:
			from, to = directory, len(data)
		}
		if from >= to {
			continue
		}
		switch at := from + random.IntN(to-from); random.IntN(3) {
		case 0:
			data[at] ^= 1 << random.IntN(8)
		case 1:
			data[at] = byte(random.Uint32())
		default:
			data[at] += byte(random.IntN(5)) - 2
		}
	}
	return reseal(data)
}

// Whatever is forged: a table that opens yields no entry beyond what it covers, and does not panic.
// If Check finds nothing wrong, then the keys are in order, and a cursor finds what Entries yields.
func TestForgedTables(t *testing.T) {
	opened, whole := 0, 0
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		data := forge(random, anyHint(random))
		h, err := OpenTable(bytes.NewReader(data), int64(len(data)), testHintID, testSalt, nil)
		if err != nil {
			if !errors.Is(err, ErrHint) && !errors.Is(err, ErrVersion) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			continue
		}
		opened++
		within := func(e HintEntry) {
			if !e.isWithin(h.Covers.Offset) || len(e.Key) > MaxKeySize {
				t.Fatalf("seed %d: an entry at %d, %d bytes, with a key of %d", seed, e.Offset, e.Size, len(e.Key))
			}
		}
		var entries []HintEntry
		for e, err := range h.Entries() {
			if err == nil {
				within(e)
				e.Key = bytes.Clone(e.Key)
				entries = append(entries, e)
			}
		}
		sound := h.Check() == nil
		if sound {
			if whole++; len(entries) != h.Len() {
				t.Fatalf("seed %d: %d entries of %d", seed, len(entries), h.Len())
			}
		}
		for i := range h.Len() {
			c := h.Cursor()
			if c.At(i) {
				within(c.Entry())
				key := bytes.Clone(c.Entry().Key)
				if moved := c.Seek(key) && c.Index() == i && c.Next(); sound && (i > 0 && bytes.Compare(entries[i-1].Key, key) >= 0 || moved != (i+1 < h.Len())) {
					t.Fatalf("seed %d: after entry %d, %q: %v, %v", seed, i, key, moved, c.Err())
				}
			}
			if sound && c.Err() != nil || !sound && c.Err() != nil && !errors.Is(c.Err(), ErrHint) {
				t.Fatalf("seed %d: entry %d: %v", seed, i, c.Err())
			}
		}
	}
	if opened < 100 || whole < 25 {
		t.Errorf("%d tables opened, and %d were whole", opened, whole)
	}
}

// Several goroutines read one table.
func TestTableIsReadByMany(t *testing.T) {
	data := partsHint()
	inMemory, err := OpenTableIn(data, testHintID, testSalt, nil)
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for _, h := range []*Table{inMemory, openTable(t, data)} {
		for range 4 {
			readers.Go(func() {
				c := h.Cursor()
				for i := range h.Len() {
					c.At(i)
					if key := bytes.Clone(c.Entry().Key); !c.Seek(key) || c.Index() != i {
						t.Errorf("%q is not entry %d: %v", key, i, c.Err())
					}
				}
				if err := h.Check(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	readers.Wait()
}

// If the system lacks memory to read some of an older hint, AddLost says so, whatever else is
// damaged in it.
func TestAddLostEndsWhereMemoryIsShort(t *testing.T) {
	data := longHint()
	data[hintHeaderSize+100] ^= 1
	h := openTable(t, data)
	h.r = scarceReader{h.r, h.partPlace(h.pieces[1])}
	b := NewHintBuilder()
	b.AddDamage(Damage{HeaderSize, 1 << 20})
	if err := b.AddLost(h, 1<<20); !errors.Is(err, errno.ENOMEM) {
		t.Errorf("AddLost: %v", err)
	}
}

// scarceReader has no memory for what begins at an offset or after it.
type scarceReader struct {
	io.ReaderAt
	from int64
}

func (r scarceReader) ReadAt(b []byte, at int64) (int, error) {
	if at >= r.from {
		return 0, errno.ENOMEM
	}
	return r.ReaderAt.ReadAt(b, at)
}
