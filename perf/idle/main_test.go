//go:build !race

// In race builds each mapping has its own descriptor.

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// The limit on descriptors holds in each run; processor time is measured, not tested.
func TestIdleStoresKeepFewDescriptors(t *testing.T) {
	var out strings.Builder
	arguments := []string{"-stores", "20", "-segments", "3", "-settle", "500ms", "-duration", "10ms", "-limit", "0", "-dir", t.TempDir()}
	if err := run(t.Context(), arguments, &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, wrong := range [][]string{{"-stores", "0"}, {"-segments", "0"}, {"-duration", "0s"}, {"-limit", "-1"}, {"more"}} {
		if err := run(t.Context(), wrong, &out); !errors.Is(err, rig.ErrUsage) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
