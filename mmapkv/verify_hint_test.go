package mmapkv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// A whole hint that covers another part of its segment is not damaged. Verify says how much it
// covers, and of which time it is only if that is certain.
func TestVerifyOfAHintThatCoversAnotherPart(t *testing.T) {
	whole := quickDir(t)
	withEverything(t, whole, func(*Store) {})
	info := manifestOf(t, whole).Segments[1]
	end, list := info.End, entriesOf(t, whole, info)
	last := list[len(list)-1]
	for _, c := range []struct {
		covers  segment.End
		earlier bool
	}{
		{segment.End{Offset: last.Offset, Seq: last.Seq - 1}, true},
		{segment.End{Offset: end.Offset + 32, Seq: end.Seq + 1}, false},
		{segment.End{Offset: end.Offset, Seq: end.Seq + 1}, false},
	} {
		dir := copyDir(t, whole)
		b := segment.NewHintBuilder()
		for _, e := range list {
			b.Add(e)
		}
		replaceBytes(t, dir, segment.HintName(info.ID), b.Encode(info.ID, info.Salt, c.covers, 0))
		r := verified(t, dir)
		wantSound(t, r)
		if len(r.Remarks) != 1 || r.Remarks[0].File != segment.HintName(info.ID) {
			t.Fatalf("a hint up to %v: remarks %v", c.covers, r.Remarks)
		}
		what := r.Remarks[0].What
		if strings.Contains(what, "earlier") != c.earlier || !strings.Contains(what, fmt.Sprint(c.covers.Offset)) {
			t.Errorf("a hint up to %v of a segment up to %v: %s", c.covers, end, what)
		}
	}
}

// Something that is no file, or that the disk does not open, has the name of a hint. Verify reports
// it, and goes on to what else is damaged. If the system lacks something, Verify returns that.
func TestVerifyOfAHintThatCannotBeOpened(t *testing.T) {
	whole := quickDir(t)
	withEverything(t, whole, func(*Store) {})
	info := manifestOf(t, whole).Segments[1]
	name := segment.HintName(info.ID)
	last := segment.FileName(manifestOf(t, whole).Segments[2].ID)
	flipAt(t, whole, last, 64)
	reported := func(what string, r Report, err error) {
		t.Helper()
		if err != nil || len(r.Damages) < 2 || r.Damages[0].Kind != DamagedHint || r.Damages[0].File != name || r.Damages[1].File != last {
			t.Errorf("%s: %v, %v", what, err, listed(r.Damages))
		}
	}
	dir := copyDir(t, whole)
	if err := errors.Join(os.Remove(filepath.Join(dir, name)), os.Mkdir(filepath.Join(dir, name), 0o700)); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(t.Context(), dir, nil)
	reported("a directory", r, err)
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ELOOP, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EACCES} {
		disk := errorfs.New(vfs.OS())
		disk.Fail(fails(errno, name, errorfs.Open))
		r, err := verifyThrough(t, t.Context(), disk, whole)
		if errno == syscall.EIO || errno == syscall.ELOOP {
			reported(errno.Error(), r, err)
		} else if !errors.Is(err, errno) {
			t.Errorf("%v: Verify returns %v", errno, err)
		}
	}
}
