package segment

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever the keys have in common, the builder sorts them as a comparison does, and keeps the
// newest record of each.
func TestHintSortsAnyKeys(t *testing.T) {
	const n = 5000
	random := rand.New(rand.NewPCG(1, 2))
	for name, key := range map[string]func(i int) []byte{
		"random":               func(i int) []byte { return fmt.Appendf(nil, "%016x", random.Uint64()) },
		"in order":             func(i int) []byte { return fmt.Appendf(nil, "user:%08d", i) },
		"one key":              func(i int) []byte { return []byte("counter") },
		"one key of 8":         func(i int) []byte { return []byte("counters") },
		"the empty key":        func(i int) []byte { return nil },
		"few keys":             func(i int) []byte { return fmt.Appendf(nil, "user:%d", random.IntN(10)) },
		"one key and others":   func(i int) []byte { return fmt.Appendf(nil, "user:%d", max(random.IntN(9000), 8000)) },
		"zeros":                func(i int) []byte { return make([]byte, random.IntN(600)) },
		"ones":                 func(i int) []byte { return bytes.Repeat([]byte{0xff}, random.IntN(30)) },
		"prefixes":             func(i int) []byte { return bytes.Repeat([]byte{'a'}, i) },
		"long common starts":   func(i int) []byte { return fmt.Appendf(nil, "%c/a long common start/%d", 'a'+i%3, random.IntN(n)) },
		"differ behind a long": func(i int) []byte { return fmt.Appendf(make([]byte, 300), "%d", random.IntN(n)) },
	} {
		b := NewHintBuilder()
		newest := map[string]uint64{}
		seqs := random.Perm(n)
		for i := range n {
			k, seq := key(i), uint64(seqs[i]+1)
			b.Add(Entry{Offset: HeaderSize + 32*int64(i), Size: 32, Seq: seq, Key: k})
			newest[string(k)] = max(newest[string(k)], seq)
		}
		h, err := parseHint(b.Encode(testHintID, testSalt, End{1 << 30, n}, 0), testHintID, testSalt)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.IsSortedFunc(h.entries, func(x, y HintEntry) int { return bytes.Compare(x.Key, y.Key) }) || len(h.entries) != len(newest) {
			t.Errorf("%s: %d entries of %d keys, or out of order", name, len(h.entries), len(newest))
		}
		for _, e := range h.entries {
			if want := newest[string(e.Key)]; e.Seq != want || seqs[(e.Offset-HeaderSize)/32]+1 != int(want) {
				t.Fatalf("%s: the newest record of %q is %d, not %d", name, e.Key, want, e.Seq)
			}
		}
	}
}

// Entries of keys like user:00001234 take at most 24 bytes each, all included, in a segment of 256
// MiB, also beside other keys.
func TestHintIsSmall(t *testing.T) {
	const keys = 200_000
	random := rand.New(rand.NewPCG(1, 2))
	for name, format := range map[string]string{"alone": "user:%08d", "of 24 bytes": "user:%019d"} {
		b := NewHintBuilder()
		b.Add(Entry{Offset: HeaderSize, Size: 32, Seq: 1 << 30, Key: []byte("other")})
		seen := map[int]bool{}
		for len(seen) < keys {
			i := random.IntN(10_000_000)
			seen[i] = true
			offset := 200<<20 + 32*int64(len(seen))
			b.Add(Entry{Offset: offset, Size: 160, Seq: 1<<30 + uint64(10*len(seen)), Key: fmt.Appendf(nil, format, i)})
		}
		size := float64(len(b.Encode(testHintID, testSalt, End{1 << 30, 1 << 31}, 0))) / keys
		t.Logf("%s: %.1f bytes an entry", name, size)
		if size > 18 {
			t.Errorf("%s: %.1f bytes an entry", name, size)
		}
	}
}
