package main

import (
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

func TestSpaceReportsAndKeepsItsLimits(t *testing.T) {
	var out strings.Builder
	arguments := []string{"-keys", "40000", "-value", "128", "-segment", "1MiB", "-rounds", "2", "-writers", "2", "-settle", "3m", "-dir", t.TempDir()}
	err := run(t.Context(), arguments, &out)
	if err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, part := range []string{"load", "round 2", "rest", "Compact", "compactions in", "used / live, at rest", "newly loaded"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the report lacks %q:\n%s", part, &out)
		}
	}
}

func TestSpaceRefusesNonsense(t *testing.T) {
	for _, arguments := range [][]string{{"-keys", "0"}, {"-value", "3"}, {"-writers", "0"}, {"-segment", "large"}, {"more"}} {
		if err := run(t.Context(), arguments, new(strings.Builder)); err == nil {
			t.Errorf("%q is accepted", arguments)
		}
	}
}

func TestUseBeyondTwoSegments(t *testing.T) {
	for _, c := range []struct {
		use  use
		want float64
	}{
		{use{used: 150, live: 10}, 0},
		{use{used: 300, live: 50}, 2},
		{use{used: 0, live: 0}, 0},
	} {
		if got := c.use.beyond(100); got != c.want {
			t.Errorf("%+v: %v, not %v", c.use, got, c.want)
		}
	}
	limits := rig.Limits{Out: new(strings.Builder)}
	limits.AtMost("nothing is alive", use{used: 300}.beyond(100), limitAlways)
	if limits.Err() == nil {
		t.Error("a store that takes space without live bytes is within the limit")
	}
}
