package mmapkv

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
)

// Under Always, the log writes zeros ahead of its records. If that fails, no record was
// written. An I/O error ends writing, as it does for a record. A lack of room does not:
// there may be room for the record.
func TestZerosThatCannotBeWritten(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		t.Run(errno.Error(), func(t *testing.T) {
			power := crashfs.New()
			disk := errorfs.New(power)
			s := openOnDisk(t, disk, fsync.Always)
			disk.Fail(errorfs.Rule{Err: errno, Match: func(op errorfs.Op) bool {
				return op.Kind == errorfs.Write && op.Offset > 0 && op.Length > 300 // longer than any record
			}})
			var written, refused []string
			for i := range 10 {
				key := fmt.Sprint("key ", i)
				err := s.Put([]byte(key), []byte("value"))
				if err == nil {
					written = append(written, key)
				} else {
					refused = append(refused, key)
				}
				fails := errno == syscall.EIO && disk.Fired() > 0
				if (err != nil) != fails || fails && (!errors.Is(err, ErrFailed) || !errors.Is(err, errno)) {
					t.Fatalf("writing %s, where zeros were refused %d times: %v", key, disk.Fired(), err)
				}
			}
			if disk.Fired() != 1 {
				t.Errorf("zeros were refused %d times", disk.Fired())
			}
			for seed := range uint64(32) {
				s := openOnDisk(t, power.PowerCutWhole(crashfs.Random(seed)), fsync.Always)
				for _, key := range written {
					wantValue(t, s, key, "value")
				}
				for _, key := range refused {
					wantAbsent(t, s, key)
				}
				if damages := s.Stats().Recovery.Damages; len(damages) > 0 {
					t.Errorf("seed %d: Open reports damage: %v", seed, damages)
				}
				closeStore(t, s)
			}
		})
	}
}
