package mmapkv

import (
	"slices"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/inject"
)

// TestScanListsNothingThatGetDoesNotFind sets the clock back after expired keys have left the index:
// when the store was opened, or by a sweep. Scans leave them out as Get does. Keys that are written
// after that come, whatever the clock was before.
func TestScanListsNothingThatGetDoesNotFind(t *testing.T) {
	for name, expire := range map[string]func(t *testing.T, s *Store, o *Options) *Store{
		"opened": func(t *testing.T, s *Store, o *Options) *Store {
			dir := s.path
			closeStore(t, s)
			return open(t, dir, o)
		},
		"swept": func(t *testing.T, s *Store, o *Options) *Store {
			for {
				if did, err := s.sweeper.Step(); err != nil {
					t.Fatal(err)
				} else if !did {
					return s
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.UnixMilli(1_000_000)
			o := byHand()
			inject.Into(o, &inject.Seams{Now: func() time.Time { return now }, Manual: true})
			s := open(t, t.TempDir(), o)
			for _, key := range []string{"gone", "overwritten"} {
				if err := s.PutWithTTL([]byte(key), []byte("for a moment"), time.Second); err != nil {
					t.Fatal(err)
				}
			}
			put(t, s, "stays", "for ever")
			now = now.Add(2 * time.Second)
			s = expire(t, s, o)
			now = now.Add(-2 * time.Second)
			wantAbsent(t, s, "gone")
			if keys := scanned(t, s, ScanOptions{}); !slices.Equal(keys, []string{"stays"}) {
				t.Errorf("a scan lists %q", keys)
			}
			if err := s.PutWithTTL([]byte("overwritten"), []byte("again"), time.Second); err != nil {
				t.Fatal(err)
			}
			wantValue(t, s, "overwritten", "again")
			if keys := scanned(t, s, ScanOptions{Reverse: true}); !slices.Equal(keys, []string{"stays", "overwritten"}) {
				t.Errorf("in reverse a scan lists %q", keys)
			}
		})
	}
}
