//go:build !race

// Race builds read heap copies, which do not fault.

package mmapkv

import (
	"errors"
	"os"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// TestScanOfTruncatedFiles: pages that are gone are damage, also in the middle of a batch.
func TestScanOfTruncatedFiles(t *testing.T) {
	d := newDamaged(t, &Options{SegmentSize: 32 << 10})
	s := open(t, d.dir, byHand())
	its := map[bool]*Iterator{}
	for _, reverse := range []bool{false, true} {
		its[reverse] = iterator(t, s, ScanOptions{Reverse: reverse})
		if !its[reverse].Next() {
			t.Fatal(its[reverse].Err())
		}
	}
	for _, name := range segmentFiles(t, d.dir) {
		if err := os.Truncate(name, segment.HeaderSize); err != nil {
			t.Fatal(err)
		}
	}
	corrupt := d.check(t, s, "truncated")
	if corrupt < 4 {
		t.Errorf("only %d scans see damage", corrupt)
	}
	for reverse, it := range its {
		for range it.Pairs() {
		}
		if err := it.Err(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("reverse %v: %v", reverse, err)
		}
	}
}
