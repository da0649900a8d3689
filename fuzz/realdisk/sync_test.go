//go:build linux

package realdisk

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// TestSyncError makes the kernel fail to write during a sync. The store refuses later writes
// and says why, reads still work, and on a good disk everything that was synced is there.
func TestSyncError(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(time.Hour), fsync.Never} {
		t.Run(policy.String(), func(t *testing.T) { checkSyncError(t, policy) })
	}
}

func checkSyncError(t *testing.T, policy fsync.Policy) {
	d := newDisk(t)
	// The segment is so large that only the write itself needs a sync.
	s := openChecked(t, filepath.Join(d.dir, "store"), mmapkv.Options{SegmentSize: 4 << 20, Sync: policy})
	s.mustPut(100, 3000)
	if err := s.Sync(); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	d.refuseWrites()
	doubtful, value := s.pair(20_000)
	err := s.Put([]byte(doubtful), []byte(value))
	if policy == fsync.Always {
		s.wantAbsent(doubtful)
	} else {
		if err != nil {
			t.Fatalf("Put without a sync: %v", err)
		}
		s.wantValue(doubtful, value)
		s.want[doubtful] = value
		if err = s.Sync(); s.Sync() == nil {
			t.Error("a second Sync returned nil")
		}
	}
	s.wantStopped(err, syscall.EIO)
	s.compare(nil)
	if err := s.Close(); !errors.Is(err, mmapkv.ErrFailed) {
		t.Fatalf("Close: %v", err)
	}

	d.replace()
	s.open()
	switch got, err := s.Get([]byte(doubtful)); {
	case err == nil && string(got) == value:
		s.want[doubtful] = value
	case errors.Is(err, mmapkv.ErrNotFound):
		delete(s.want, doubtful)
	default:
		t.Fatalf("Get of the write in doubt: %.40q, %v", got, err)
	}
	s.mustPut(20, 3000)
	s.compare(nil)
	s.mustClose()
}

// wantStopped checks that the error, and the error of every later write, is ErrFailed and has
// the cause.
func (s *checkedStore) wantStopped(err error, cause syscall.Errno) {
	s.t.Helper()
	batch := new(mmapkv.Batch)
	batch.Put([]byte("later"), nil)
	for what, err := range map[string]error{
		"the write or sync": err,
		"a later Put":       s.Put([]byte("later"), nil),
		"a later Delete":    s.Delete([]byte(s.keys()[0])),
		"a later Write":     s.Write(batch),
		"Stats":             s.Stats().Err,
	} {
		if !errors.Is(err, mmapkv.ErrFailed) || !errors.Is(err, cause) {
			s.t.Errorf("%s: %v; want ErrFailed because of %v", what, err, cause)
		}
	}
	s.wantAbsent("later")
}
