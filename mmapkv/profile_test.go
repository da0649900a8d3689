package mmapkv

import (
	"bytes"
	"fmt"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
)

// A profile says what each background goroutine does.
func TestBackgroundGoroutinesAreLabelled(t *testing.T) {
	o := tiny()
	o.Sync = fsync.Every(time.Hour)
	s := open(t, t.TempDir(), o)
	put(t, s, "a", "1")
	var missing []string
	for range 60_000 { // they may not have started yet
		var profile bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
			t.Fatal(err)
		}
		missing = nil
		for _, name := range []string{"prefault", "maintain", "compact", "sync"} {
			if !strings.Contains(profile.String(), fmt.Sprintf("%q:%q", "mmapkv", name)) {
				missing = append(missing, name)
			}
		}
		if missing == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("no goroutine has the labels %q", missing)
}

// A trace shows when the work was done.
func TestWorkIsMarkedInTraces(t *testing.T) {
	var recorded bytes.Buffer
	if err := trace.Start(&recorded); err != nil {
		t.Fatal(err)
	}
	o := byHand()
	o.Sync = fsync.Always
	s := open(t, t.TempDir(), o)
	fill(t, s, 0, 100, 100)
	fill(t, s, 0, 100, 101)
	compactAll(t, s)
	trace.Stop()
	for _, name := range []string{"mmapkv: rotate", "mmapkv: seal", "mmapkv: sync", "mmapkv: compact"} {
		if !bytes.Contains(recorded.Bytes(), []byte(name)) {
			t.Errorf("the trace has no region %q", name)
		}
	}
}
