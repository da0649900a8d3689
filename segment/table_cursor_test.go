package segment

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

// tableOf is the table of these keys, and its entries in order. read says whether it is read from a
// file, or lies in memory.
func tableOf(t rapid.TB, keys [][]byte, read bool) (*Table, []HintEntry) {
	b := NewHintBuilder()
	newest := map[string]HintEntry{}
	for i, key := range keys {
		e := Entry{Offset: HeaderSize + 32*int64(i), Size: 32, Seq: uint64(i + 1), Key: key}
		b.Add(e)
		newest[string(key)] = HintEntry{Key: key, Offset: e.Offset, Size: e.Size, Seq: e.Seq}
	}
	var sorted []HintEntry
	for _, e := range newest {
		sorted = append(sorted, e)
	}
	slices.SortFunc(sorted, func(x, y HintEntry) int { return bytes.Compare(x.Key, y.Key) })
	data := b.Encode(testHintID, testSalt, End{1 << 30, 9}, 0)
	table, err := OpenTableIn(data, testHintID, testSalt, nil)
	if read {
		table, err = OpenTable(bytes.NewReader(data), int64(len(data)), testHintID, testSalt, nil)
	}
	if err == nil {
		err = table.Check()
	}
	if err != nil {
		t.Fatal(err)
	}
	return table, sorted
}

// anyKey draws keys that lie close together: many share a prefix, or are a prefix of each other, or
// go on with zeros.
func anyKey() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		key := []byte(rapid.SampledFrom([]string{"", "user:", "user:0000", "v", "\x00\x00\x00\x00\x00\x00\x00\x00\x00"}).Draw(t, "start"))
		if rapid.IntRange(0, 50).Draw(t, "long") == 0 {
			key = append(key, make([]byte, rapid.IntRange(0, 3*partBytes/2).Draw(t, "zeros"))...)
		}
		return append(key, rapid.SliceOfN(rapid.SampledFrom([]byte{0, '0', '1', 0xff}), 0, 6).Draw(t, "rest")...)
	})
}

// A cursor does what an index into a sorted slice does, in both directions, from anywhere.
func TestCursorIsASortedSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, want := tableOf(t, rapid.SliceOfN(anyKey(), 0, 200).Draw(t, "keys"), rapid.Bool().Draw(t, "read"))
		c, at := table.Cursor(), len(want) // len(want): nowhere
		check := func(what string, moved bool) {
			if moved != (at < len(want)) {
				t.Fatalf("%s: %v, want entry %d of %d", what, moved, at, len(want))
			}
			if moved && (c.Index() != at || !sameEntry(c.Entry(), want[at])) {
				t.Fatalf("%s: entry %d, %+v, want %d, %+v", what, c.Index(), c.Entry(), at, want[at])
			}
			if c.Err() != nil {
				t.Fatal(c.Err())
			}
		}
		nowhere := func(i int) int {
			if i < 0 {
				return len(want)
			}
			return i
		}
		t.Repeat(map[string]func(*rapid.T){
			"First": func(t *rapid.T) { at = 0; check("First", c.First()) },
			"Last":  func(t *rapid.T) { at = nowhere(len(want) - 1); check("Last", c.Last()) },
			"Next":  func(t *rapid.T) { at = min(at+1, len(want)); check("Next", c.Next()) },
			"Prev": func(t *rapid.T) {
				if at < len(want) {
					at = nowhere(at - 1)
				}
				check("Prev", c.Prev())
			},
			"At": func(t *rapid.T) {
				i := rapid.IntRange(-1, len(want)).Draw(t, "i")
				at = nowhere(i)
				check("At", c.At(i))
			},
			"Seek": func(t *rapid.T) {
				key := anyKey().Draw(t, "key")
				at = sort.Search(len(want), func(i int) bool { return bytes.Compare(want[i].Key, key) >= 0 })
				check(fmt.Sprintf("Seek(%q)", key), c.Seek(key))
			},
			"Find": func(t *rapid.T) {
				key := anyKey().Draw(t, "key")
				at = sort.Search(len(want), func(i int) bool { return bytes.Compare(want[i].Key, key) >= 0 })
				if at < len(want) && !bytes.Equal(want[at].Key, key) {
					at = len(want)
				}
				check(fmt.Sprintf("Find(%q)", key), c.Find(key))
			},
		})
	})
}

// All seeks in a table of many parts find what a slice finds, also where fences are equal.
func TestSeekInManyParts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, key := range map[string]func(i int) []byte{
		"dense":           func(i int) []byte { return fmt.Appendf(nil, "user:%08d", 3*i) },
		"scattered":       func(i int) []byte { return fmt.Appendf(nil, "user:%016x", random.Uint64()) },
		"equal fences":    func(i int) []byte { return fmt.Appendf(nil, "%c a long common start %05d", 'a'+i%3, 3*i) },
		"zeros":           func(i int) []byte { return make([]byte, i) },
		"of several size": func(i int) []byte { return bytes.Repeat([]byte{byte(i % 7)}, i%100) },
	} {
		var keys [][]byte
		for i := range 3000 {
			keys = append(keys, key(i))
		}
		table, want := tableOf(t, keys, false)
		c := table.Cursor()
		for range 5000 {
			k := bytes.Clone(want[random.IntN(len(want))].Key)
			switch random.IntN(4) {
			case 0:
				k = k[:random.IntN(len(k)+1)]
			case 1:
				k = append(k, byte(random.IntN(2)))
			case 2:
				if len(k) > 0 {
					k[random.IntN(len(k))] += byte(random.IntN(3)) - 1
				}
			}
			at := sort.Search(len(want), func(i int) bool { return bytes.Compare(want[i].Key, k) >= 0 })
			if found := c.Seek(k); found != (at < len(want)) || found && (c.Index() != at || !sameEntry(c.Entry(), want[at])) {
				t.Fatalf("%s: Seek(%q): %v, entry %d, want %d of %d", name, k, found, c.Index(), at, len(want))
			}
			there := at < len(want) && bytes.Equal(want[at].Key, k)
			if found := c.Find(k); found != there || found && (c.Index() != at || !sameEntry(c.Entry(), want[at])) {
				t.Fatalf("%s: Find(%q): %v, entry %d, want %v, %d", name, k, found, c.Index(), there, at)
			}
		}
		at := len(want)
		for more := c.Last(); more; more = c.Prev() {
			if at--; !sameEntry(c.Entry(), want[at]) {
				t.Fatalf("%s: backward, entry %d is %+v", name, at, c.Entry())
			}
		}
		if at != 0 {
			t.Errorf("%s: backward, it ends at entry %d", name, at)
		}
	}
}

// A seek in a table on disk reads one part, or a few where fences are equal, however large it is.
func TestSeekReadsLittle(t *testing.T) {
	data := hintOf(100_000).Encode(testHintID, testSalt, End{1 << 30, 1}, 0)
	counted := &countingReader{ReaderAt: bytes.NewReader(data)}
	table, err := OpenTable(counted, int64(len(data)), testHintID, testSalt, nil)
	if err != nil {
		t.Fatal(err)
	}
	if counted.bytes > int64(len(data))/20 {
		t.Errorf("%d bytes of %d were read to open it", counted.bytes, len(data))
	}
	const seeks = 1000
	c := table.Cursor()
	counted.calls, counted.bytes = 0, 0
	for i := range seeks {
		if !c.Seek(fmt.Appendf(nil, "user:%016x", uint64(i)*0x5851f42d4c957f2d)) {
			t.Fatal(c.Err())
		}
	}
	if counted.calls > 2*seeks || counted.bytes > seeks*2*partEntries*40 {
		t.Errorf("%d reads of %d bytes in %d seeks", counted.calls, counted.bytes, seeks)
	}
}

type countingReader struct {
	io.ReaderAt
	calls, bytes int64
}

func (r *countingReader) ReadAt(b []byte, at int64) (int, error) {
	r.calls++
	r.bytes += int64(len(b))
	return r.ReaderAt.ReadAt(b, at)
}

// Once a part is damaged or cannot be read, a cursor says so, and does not move on.
func TestCursorStopsAtAnError(t *testing.T) {
	table, _ := tableOf(t, [][]byte{[]byte("a"), []byte("b")}, true)
	broken := errors.New("broken")
	whole := table.r
	for what, move := range map[string]func(c *Cursor) bool{
		"First": (*Cursor).First, "Last": (*Cursor).Last,
		"At":   func(c *Cursor) bool { return c.At(1) },
		"Seek": func(c *Cursor) bool { return c.Seek([]byte("aa")) },
	} {
		c := table.Cursor()
		table.r = failingReader{broken}
		if move(c) || c.Err() != broken {
			t.Errorf("%s: %v", what, c.Err())
		}
		table.r = whole
		if c.First() || c.Next() || c.Prev() || c.Err() != broken {
			t.Errorf("after %s: %v", what, c.Err())
		}
	}
}

// Mapped memory may change after it was checked. Then a part yields wrong entries or none, but
// nothing panics.
func TestPartThatChangesAfterItWasChecked(t *testing.T) {
	data := partsHint()
	table, err := OpenTableIn(data, testHintID, testSalt, nil)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		i := random.IntN(table.Parts())
		var p Part
		if err := table.Part(i, &p); err != nil {
			t.Fatal(err)
		}
		spoiled := bytes.Clone(p.data)
		for range 1 + random.IntN(20) {
			spoiled[random.IntN(min(len(spoiled), 300))] = byte(random.Uint32())
		}
		p.data = spoiled
		for i := range p.Len() {
			if e, ok := p.At(i); ok && !e.isWithin(table.Covers.Offset) {
				t.Fatalf("%+v", e)
			}
			p.Seek([]byte("user:00000022"))
		}
	}
}

func BenchmarkTableSeek1M(b *testing.B) {
	data := hintOf(1<<20).Encode(testHintID, testSalt, End{1 << 30, 1}, 0)
	for name, open := range map[string]func() (*Table, error){
		"in memory": func() (*Table, error) { return OpenTableIn(data, testHintID, testSalt, nil) },
		"read": func() (*Table, error) {
			return OpenTable(bytes.NewReader(data), int64(len(data)), testHintID, testSalt, nil)
		},
	} {
		b.Run(name, func(b *testing.B) {
			table, err := open()
			if err != nil {
				b.Fatal(err)
			}
			c := table.Cursor()
			key := []byte("user:0123456789abcdef")
			state := uint64(1)
			for b.Loop() {
				state = state*0x5851f42d4c957f2d + 1
				hex.Encode(key[5:], binary.BigEndian.AppendUint64(nil, state))
				c.Seek(key)
			}
			if c.Err() != nil {
				b.Fatal(c.Err())
			}
		})
	}
}

func BenchmarkTableMove1M(b *testing.B) {
	data := hintOf(1<<20).Encode(testHintID, testSalt, End{1 << 30, 1}, 0)
	table, err := OpenTableIn(data, testHintID, testSalt, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, move := range map[string]func(c *Cursor) bool{"Next": (*Cursor).Next, "Prev": (*Cursor).Prev} {
		b.Run(name, func(b *testing.B) {
			c := table.Cursor()
			for b.Loop() {
				if !move(c) {
					c.At(table.Len() / 2)
				}
			}
		})
	}
}

func BenchmarkTableOpen1M(b *testing.B) {
	data := hintOf(1<<20).Encode(testHintID, testSalt, End{1 << 30, 1}, 0)
	b.ReportMetric(float64(len(data))/(1<<20), "B/key")
	for b.Loop() {
		if _, err := OpenTable(bytes.NewReader(data), int64(len(data)), testHintID, testSalt, nil); err != nil {
			b.Fatal(err)
		}
	}
}
