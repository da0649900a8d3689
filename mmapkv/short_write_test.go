package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
	"github.com/mmapkv/mmapkv/segment"
)

// openOnDisk opens a store of tiny segments on a test disk.
func openOnDisk(t *testing.T, disk vfs.FS, policy fsync.Policy) *Store {
	t.Helper()
	o := tiny()
	o.Sync = policy
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	return open(t, "/store", o)
}

// A full disk may write only the first part of a write. After a power loss nothing of
// that write counts, and the log does not end before later acknowledged writes.
func TestPowerLossBehindAShortWrite(t *testing.T) {
	const refusedFirst, refusedSecond = "refused 1", "refused 2"
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(time.Second), fsync.Never} {
		for _, second := range []int{0, 200} { // the first record is written in half, or in full
			for later := range 3 {
				t.Run(fmt.Sprint(policy, ", ", second, " bytes, then ", later), func(t *testing.T) {
					power := crashfs.New()
					disk := errorfs.New(power)
					s := openOnDisk(t, disk, policy)
					put(t, s, "before", "value")
					if err := s.Sync(); err != nil {
						t.Fatal(err)
					}
					disk.Fail(errorfs.Rule{Err: syscall.ENOSPC, Short: true, Match: errorfs.Only(errorfs.Write)})
					refused := []*wal.Write{
						s.writeForTest([]byte(refusedFirst), []byte("value")),
						s.writeForTest([]byte(refusedSecond), bytes.Repeat([]byte("v"), second)),
					}
					s.log.AsLeader(func() { s.log.CommitSome(refused) })
					disk.Heal()
					for _, w := range refused {
						if !errors.Is(w.Err, syscall.ENOSPC) || errors.Is(w.Err, ErrFailed) {
							t.Fatalf("a write that does not fit: %v", w.Err)
						}
					}
					for i := range later {
						put(t, s, fmt.Sprint("later ", i), "value")
					}
					for seed := range uint64(32) {
						s := openOnDisk(t, power.PowerCutWhole(crashfs.Random(seed)), policy)
						wantValue(t, s, "before", "value")
						wantAbsent(t, s, refusedFirst)
						wantAbsent(t, s, refusedSecond)
						for i := range later {
							if policy == fsync.Always {
								wantValue(t, s, fmt.Sprint("later ", i), "value")
							}
						}
						if damages := s.Stats().Recovery.Damages; len(damages) > 0 {
							t.Errorf("seed %d: Open reports damage: %v", seed, damages)
						}
						closeStore(t, s)
					}
				})
			}
		}
	}
}

// The numbers of refused writes are missing from the log between two files. Recovery
// keeps the gap there: within a file it would count as damage.
func TestNumbersAreMissingOnlyBetweenFilesAfterAKill(t *testing.T) {
	power := crashfs.New()
	disk := errorfs.New(power)
	s := openOnDisk(t, disk, fsync.Never)
	put(t, s, "before", "value")
	disk.Fail(errorfs.Rule{Err: syscall.ENOSPC, Short: true, Match: errorfs.Only(errorfs.Write)})
	if err := s.Put([]byte("refused"), make([]byte, 100)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a write that does not fit: %v", err)
	}
	disk.Heal()
	put(t, s, "after", "value")
	power = power.Kill()
	for range 2 {
		s = openOnDisk(t, power, fsync.Never)
		if report, err := s.Verify(t.Context()); err != nil || len(report.Damages) > 0 {
			t.Errorf("Verify: %v, %v", report.Damages, err)
		}
		if damages := s.Stats().Recovery.Damages; len(damages) > 0 {
			t.Errorf("Open reports damage: %v", damages)
		}
		wantValue(t, s, "before", "value")
		wantValue(t, s, "after", "value")
		put(t, s, "again", "value")
		power = power.Kill()
	}
}

// A compaction may have removed the file in which the log ended, if it needed nothing
// of it. The log still goes on from there, even after a file without records.
func TestLogGoesOnBehindAFileThatIsGone(t *testing.T) {
	for what, refusal := range map[string]errorfs.Rule{
		"half a record": {Short: true, Match: func(op errorfs.Op) bool {
			return op.Kind == errorfs.Write && op.Offset == segment.HeaderSize
		}},
		"nothing": {Forever: true, Match: errorfs.Only(errorfs.Allocate)},
	} {
		for _, older := range []bool{false, true} {
			t.Run(fmt.Sprint(what, ", an older file: ", older), func(t *testing.T) {
				power := crashfs.New()
				disk := errorfs.New(power)
				s := openOnDisk(t, disk, fsync.Always)
				if older { // too large for compaction to copy it without need
					put(t, s, "older", string(make([]byte, minSegmentSize/2)))
					s.endForTest(t)
				}
				put(t, s, "deleted", "value")
				if err := s.Delete([]byte("deleted")); err != nil {
					t.Fatal(err)
				}
				compactAll(t, s)
				closeStore(t, s)

				s = openOnDisk(t, disk, fsync.Always)
				refusal.Err = syscall.ENOSPC
				disk.Fail(refusal)
				if err := s.Put([]byte("refused"), make([]byte, 100)); !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("a write that does not fit: %v", err)
				}
				disk.Heal()
				large := string(make([]byte, minSegmentSize)) // needs another file
				put(t, s, "acknowledged", large)
				if report, err := s.Verify(t.Context()); err != nil || len(report.Damages) > 0 {
					t.Errorf("Verify: %v, %v", report.Damages, err)
				}
				s = openOnDisk(t, power.Kill(), fsync.Always)
				wantValue(t, s, "acknowledged", large)
				if damages := s.Stats().Recovery.Damages; len(damages) > 0 {
					t.Errorf("Open reports damage: %v", damages)
				}
			})
		}
	}
}

// If a file's last write was refused in the middle, the first record of the next file
// tells where it ends. Even if that record is damaged, nothing of the write counts.
func TestDamageBehindAShortWrite(t *testing.T) {
	power := crashfs.New()
	disk := errorfs.New(power)
	s := openOnDisk(t, disk, fsync.Always)
	put(t, s, "before", "value")
	disk.Fail(errorfs.Rule{Err: syscall.ENOSPC, Short: true, Match: errorfs.Only(errorfs.Write)})
	refused := []*wal.Write{
		s.writeForTest([]byte("refused"), nil),
		s.writeForTest([]byte("refused, and there as a whole"), nil),
		s.writeForTest([]byte("before"), make([]byte, 500)),
	}
	s.log.AsLeader(func() { s.log.CommitSome(refused) })
	disk.Heal()
	for _, w := range refused {
		if !errors.Is(w.Err, syscall.ENOSPC) {
			t.Fatalf("a write that does not fit: %v", w.Err)
		}
	}
	put(t, s, "damaged", "value")
	put(t, s, "after", "value")

	power = power.Kill()
	if !power.Flip("/store/"+segment.FileName(s.log.Tail.File.ID), segment.HeaderSize, 1) {
		t.Fatal("nothing is damaged")
	}
	s = openOnDisk(t, power, fsync.Always)
	wantValue(t, s, "before", "value")
	wantValue(t, s, "after", "value")
	for _, w := range refused[:2] {
		wantAbsent(t, s, string(w.Draft.Key(0)))
	}
	if damages := s.Stats().Recovery.Damages; len(damages) == 0 {
		t.Error("Open reports no damage")
	}
}
