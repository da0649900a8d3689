//go:build linux

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// TestMeasures runs in a process with enough memory; the effect of a control group is
// measured, not tested.
func TestMeasures(t *testing.T) {
	c, err := parse([]string{"-limit", "1MiB", "-times", "2", "-duration", "50ms", "-dir", t.TempDir()}, new(strings.Builder))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := c.run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"pread", "Get", "View", "latest tick"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the report lacks %q:\n%s", part, &out)
		}
	}
	for _, arguments := range [][]string{{"-limit", "1"}, {"-times", "0"}, {"-readers", "0"}, {"-duration", "0s"}, {"-value", "1"}, {"more"}} {
		if _, err := parse(arguments, &out); !errors.Is(err, rig.ErrUsage) {
			t.Errorf("%q: %v", arguments, err)
		}
	}
}
