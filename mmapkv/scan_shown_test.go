//go:build !race && !invariants

// Race builds read heap copies, which do not fault, and take memory of their own. With invariants,
// callbacks are shown copies.

package mmapkv

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// A page that is gone while the callback reads it is damage, and not the end of the process.
func TestScanWhoseCallbackFaults(t *testing.T) {
	const size = 50_000
	for name, view := range views {
		if name == "Scan of keys" || name == "Pairs" {
			continue // their callbacks read no file
		}
		dir := t.TempDir()
		s := open(t, dir, &Options{SegmentSize: 1 << 20})
		fill(t, s, 0, 5, size)
		calls := 0
		err := view(s, func(_, value []byte) error {
			calls++
			for _, name := range segmentFiles(t, dir) {
				if err := os.Truncate(name, segment.HeaderSize); err != nil {
					return err
				}
			}
			sum := 0
			for _, b := range value {
				sum += int(b)
			}
			return fmt.Errorf("the sum is %d", sum)
		})
		if !errors.Is(err, ErrCorrupt) || calls != 1 {
			t.Errorf("%s: %v after %d calls", name, err, calls)
		}
	}
}

// TestScanTakesNoMemoryForEachPair: a scan of many pairs allocates as much as one of few.
func TestScanTakesNoMemoryForEachPair(t *testing.T) {
	s := open(t, t.TempDir(), &Options{Compaction: Compaction{Disabled: true}})
	fill(t, s, 0, 10_000, 100)
	pairs := 0
	fn := func(_, _ []byte) error { pairs++; return nil }
	from, _ := numbered(9_000, 0)
	for name, o := range map[string]ScanOptions{"pairs": {}, "keys": {KeysOnly: true}, "reverse": {Reverse: true}} {
		count := func(from []byte) float64 {
			o.From = from
			return testing.AllocsPerRun(5, func() {
				if err := s.Scan(o, fn); err != nil {
					t.Fatal(err)
				}
			})
		}
		few, many := count(from), count(nil)
		if many > few+9_000/100 { // buffers that grow
			t.Errorf("%s: %v allocations for 1,000 pairs, %v for 10,000", name, few, many)
		}
	}
	it, err := s.Iterator(ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	move := func() {
		if !it.Next() {
			t.Fatal(it.Err())
		}
		if _, err := it.Value(); err != nil {
			t.Fatal(err)
		}
		_ = it.Key()
	}
	for range 200 {
		move()
	}
	if n := testing.AllocsPerRun(5_000, move); n > 0 {
		t.Errorf("an Iterator allocates %v times for each pair", n)
	}
}
