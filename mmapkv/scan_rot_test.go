package mmapkv

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// A record rotted under a partial hint. No scan shows its key with an older value or passes over it,
// whether it comes before, while or after the index loads, after the background wrote the hint, or after
// the partial hints went for room.
func TestScanOfARecordThatRotsUnderAPartialHint(t *testing.T) {
	for _, drop := range []bool{false, true} {
		for _, at := range []int64{0, 20, 40} {
			for steps := range 8 {
				s := open(t, t.TempDir(), partialOptions())
				put(t, s, "rotten", "old")
				s.endForTest(t)
				fill(t, s, 0, 20, 100)
				put(t, s, "rotten", strings.Repeat("new", 10))
				rotten := s.catalog.Set().Keys.Get(s.hasher.Fingerprint([]byte("rotten")))
				file := segment.FileName(s.catalog.Set().File(rotten).ID)
				fill(t, s, 20, 40, 100)
				if err := s.Sync(); err != nil {
					t.Fatal(err)
				}
				writePartials(t, s)
				dir := killed(t, s, s.path)
				closeStore(t, s)
				invertByte(t, filepath.Join(dir, file), rotten.Offset()+at)
				o := partialOptions()
				inject.Into(o, &inject.Seams{Manual: true, Hold: true, PartStep: partialStep})
				s = open(t, dir, o)
				look := func(when string) {
					t.Helper()
					v, err := s.Get([]byte("rotten"))
					if !errors.Is(err, ErrCorrupt) {
						t.Errorf("at %d, drop %v, %s: Get: %q, %v", at, drop, when, v, err)
					}
					shown := ""
					err = s.Scan(ScanOptions{}, func(key, value []byte) error {
						if string(key) == "rotten" {
							shown = string(value)
						}
						return nil
					})
					if !errors.Is(err, ErrCorrupt) || shown != "" {
						t.Errorf("at %d, drop %v, %s: Scan shows %q: %v", at, drop, when, shown, err)
					}
				}
				for i := range steps {
					look(fmt.Sprint("step ", i))
					if _, err := s.loading.Step(); err != nil {
						t.Fatal(err)
					}
				}
				if drop {
					s.log.DropPartials()
				}
				look("then")
				if err := s.Ready(t.Context()); err != nil {
					t.Error(err)
				}
				look("loaded")
				for did := true; did; {
					var err error
					if did, err = s.log.StepHint(); err != nil {
						t.Fatal(err)
					}
				}
				look("hinted")
				if err := s.Compact(t.Context()); !errors.Is(err, ErrCorrupt) {
					t.Errorf("Compact: %v", err)
				}
				look("compacted")
				closeStore(t, s)
			}
		}
	}
}

// A record of the tail rots, and then the tail is sealed. Its hint lacks the record, and a scan says so.
func TestScanOfARecordThatRotsBeforeItsFileIsSealed(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "rotten", "old")
	s.endForTest(t)
	put(t, s, "rotten", "new")
	rotten := s.catalog.Set().Keys.Get(s.hasher.Fingerprint([]byte("rotten")))
	put(t, s, "other", "value")
	invertByte(t, filepath.Join(s.path, segment.FileName(s.catalog.Set().File(rotten).ID)), rotten.Offset())
	s.endForTest(t)
	err := s.Scan(ScanOptions{}, func(key, value []byte) error {
		if string(key) == "rotten" {
			t.Errorf("%q is shown", value)
		}
		return nil
	})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("Scan: %v", err)
	}
}
