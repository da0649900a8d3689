package mmapkv

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
	"github.com/mmapkv/mmapkv/segment"
)

// A limit of the process keeps a file shorter than the log wants it. The limit shows
// before the first byte of a write, in its middle, or when room is reserved. The whole
// write goes to another file, and a power loss leaves what it would without the limit.
func TestLogGoesOnInAnotherFileAtTheLimit(t *testing.T) {
	limits := map[string]errorfs.Rule{
		"the first byte":      {Match: errorfs.Only(errorfs.Write)},
		"the middle":          {Match: errorfs.Only(errorfs.Write), Short: true},
		"where room is taken": {Match: errorfs.Only(errorfs.Allocate), Forever: true},
	}
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(time.Second), fsync.Never} {
		for what, limit := range limits {
			t.Run(fmt.Sprint(policy, ", ", what), func(t *testing.T) {
				power := crashfs.New()
				disk := errorfs.New(power)
				s := openOnDisk(t, disk, policy)
				put(t, s, "before", "value")
				first := s.log.Tail.File
				limit.Err = syscall.EFBIG
				if limit.Forever { // for this file only
					name := "/store/" + segment.FileName(first.ID)
					limit.Match = func(op errorfs.Op) bool { return op.Kind == errorfs.Allocate && op.Name == name }
					if err := first.Active.Trim(); err != nil { // so that the next write must reserve room
						t.Fatal(err)
					}
				}
				disk.Fail(limit)
				group := []*wal.Write{
					s.writeForTest([]byte("one"), make([]byte, 500)),
					s.writeForTest([]byte("two"), make([]byte, 500)),
				}
				s.log.AsLeader(func() {
					for rest := group; len(rest) > 0; {
						rest = rest[s.log.CommitSome(rest):]
					}
				})
				if disk.Fired() == 0 {
					t.Fatal("nothing was refused")
				}
				for _, w := range group {
					if w.Err != nil {
						t.Fatal(w.Err)
					}
				}
				if s.log.Tail.File == first {
					t.Error("the log goes on in the same file")
				}
				if err := s.Delete([]byte("before")); err != nil {
					t.Error(err)
				}
				disk.Heal()
				for seed := range uint64(16) {
					s := openOnDisk(t, power.PowerCutWhole(crashfs.Random(seed)), policy)
					if policy == fsync.Always {
						wantAbsent(t, s, "before")
						wantValue(t, s, "one", string(make([]byte, 500)))
						wantValue(t, s, "two", string(make([]byte, 500)))
					}
					if damages := s.Stats().Recovery.Damages; len(damages) > 0 {
						t.Errorf("seed %d: Open reports damage: %v", seed, damages)
					}
					closeStore(t, s)
				}
				closeStore(t, s)
			})
		}
	}
}

// The log does not replace a file without records: another one would have no more room.
func TestLimitBelowARecordMakesNoFiles(t *testing.T) {
	disk := errorfs.New(crashfs.New())
	s := openOnDisk(t, disk, fsync.Never)
	put(t, s, "before", "value")
	disk.Fail(errorfs.Rule{Match: errorfs.Only(errorfs.Write), Err: syscall.EFBIG, Forever: true, Nth: 1})
	for range 3 {
		if err := s.Put([]byte("refused"), make([]byte, 500)); err == nil {
			t.Fatal("written where nothing can be")
		}
	}
	disk.Heal()
	put(t, s, "after", "value")
	for range 10 {
		if did, err := s.log.StepSeal(); err != nil || !did {
			break
		}
	}
	if n := len(s.Stats().Segments); n > 2 {
		t.Errorf("%d segments", n)
	}
}
