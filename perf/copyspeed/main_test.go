package main

import (
	"strings"
	"testing"
)

func TestCopyspeedReportsEachSize(t *testing.T) {
	var out strings.Builder
	arguments := []string{"-size", "1MiB", "-segment", "256KiB", "-value", "512,64", "-rounds", "2", "-limit", "0", "-dir", t.TempDir()}
	if err := run(t.Context(), arguments, &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, part := range []string{"values of 512: compaction", "values of 64: compaction"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the report lacks %q:\n%s", part, &out)
		}
	}
}

// The copy and the compaction must read the same files, or their speeds are not
// comparable.
func TestCopyAndCompactionHaveTheSameInput(t *testing.T) {
	c := config{size: 1 << 20, segment: 128 << 10}
	copied, compacted, err := c.round(t.Context(), t.TempDir(), c.data(200))
	if err != nil {
		t.Fatal(err)
	}
	if ratio := float64(compacted.in) / float64(copied.in); ratio < 0.85 || ratio > 1.15 {
		t.Errorf("%v are copied and %v compacted", copied.in, compacted.in)
	}
	if ratio := float64(compacted.out) / float64(compacted.in); ratio < 0.4 || ratio > 0.65 {
		t.Errorf("%v of %v are written", compacted.out, compacted.in)
	}
}

func TestMedian(t *testing.T) {
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Errorf("%v, not 2", m)
	}
	if m := median([]float64{4, 1}); m != 2.5 {
		t.Errorf("%v, not 2.5", m)
	}
}

func TestCopyspeedRefusesNonsense(t *testing.T) {
	for _, arguments := range [][]string{{"-value", "many"}, {"-value", "1"}, {"-size", "0"}, {"-rounds", "0"}, {"-limit", "-1"}} {
		if err := run(t.Context(), arguments, new(strings.Builder)); err == nil {
			t.Errorf("%q is accepted", arguments)
		}
	}
}
