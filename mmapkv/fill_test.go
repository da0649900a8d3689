package mmapkv

import (
	"errors"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/faulty"
	"github.com/mmapkv/mmapkv/internal/forgetful"
)

// Under Always zeros are written first where the log goes on. When that fails, nothing
// was written, and an I/O error ends writing, as it does where a record is written.
func TestZerosThatCannotBeWritten(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		t.Run(errno.Error(), func(t *testing.T) {
			power := forgetful.New()
			disk := faulty.New(power)
			s := openOnDisk(t, disk, fsync.Always)
			put(t, s, "before", "value")
			closeStore(t, s)
			s = openOnDisk(t, disk, fsync.Always)
			var zeros faulty.Op
			disk.Fail(faulty.Rule{Err: errno, Match: func(op faulty.Op) bool {
				isLog := op.Kind == faulty.Write && op.Offset > 0 && zeros.Length == 0
				if isLog {
					zeros = op
				}
				return isLog
			}})
			err := s.Put([]byte("refused"), []byte("value"))
			if !errors.Is(err, errno) || errors.Is(err, ErrFailed) != (errno == syscall.EIO) {
				t.Fatalf("a write behind zeros that were refused: %v", err)
			}
			if size := int64(100); zeros.Length < size {
				t.Fatalf("the test failed %v, which is not about zeros", zeros)
			}
			if errno == syscall.ENOSPC {
				put(t, s, "after", "value")
			} else if err := s.Put([]byte("after"), []byte("value")); !errors.Is(err, ErrFailed) {
				t.Errorf("the store has failed, and a write says %v", err)
			}
			for seed := range uint64(32) {
				s := openOnDisk(t, power.PowerCutWhole(forgetful.Random(seed)), fsync.Always)
				wantValue(t, s, "before", "value")
				wantAbsent(t, s, "refused")
				if errno == syscall.ENOSPC {
					wantValue(t, s, "after", "value")
				}
				if damages := s.Stats().Recovery.Damages; len(damages) > 0 {
					t.Errorf("seed %d: Open reports damage: %v", seed, damages)
				}
				closeStore(t, s)
			}
		})
	}
}
