package mmapkv

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// Only a hint knows that a key was deleted, and the system lacks what it takes to open that hint.
// Salvage says so: it does not bring the deleted value back.
func TestSalvageWhereAHintIsRefused(t *testing.T) {
	from := t.TempDir()
	s := open(t, from, byHand())
	put(t, s, "deleted", "an old value")
	s.endForTest(t)
	put(t, s, "first", "value")
	at := s.log.Tail.End.Offset
	if err := s.Delete([]byte("deleted")); err != nil {
		t.Fatal(err)
	}
	put(t, s, "last", "value")
	s.endForTest(t)
	closeStore(t, s)
	id := manifestOf(t, from).Segments[1].ID
	flipAt(t, from, segment.FileName(id), at+8)
	for _, listed := range []bool{true, false} {
		if !listed {
			if err := os.Remove(filepath.Join(from, segment.ManifestName)); err != nil {
				t.Fatal(err)
			}
		}
		to := filepath.Join(t.TempDir(), "to")
		for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EACCES} {
			disk := errorfs.New(vfs.OS())
			disk.Fail(fails(errno, segment.HintName(id), errorfs.Open))
			if report, err := salvageOn(t, disk, from, to); !errors.Is(err, errno) {
				t.Fatalf("listed %v, %v: Salvage brings %d keys over, %v", listed, errno, report.Keys, err)
			}
		}
		report, err := salvageOn(t, vfs.OS(), from, to)
		if err != nil || report.Keys != 2 {
			t.Fatalf("listed %v: Salvage brings %d keys over, %v", listed, report.Keys, err)
		}
		wantAbsent(t, open(t, to, nil), "deleted")
	}
}
