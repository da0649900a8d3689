package mmapkv

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// Each test here fails one call on an unlisted file or on the manifest, or cancels at that
// call. Verify must take nothing sound for damaged, and change nothing.

func verifyThrough(t *testing.T, ctx context.Context, disk *errorfs.Disk, dir string) (Report, error) {
	t.Helper()
	o := new(VerifyOptions)
	inject.Into(o, &inject.Seams{FS: disk})
	before := filesOfDir(t, dir)
	report, err := Verify(ctx, dir, o)
	if !maps.Equal(before, filesOfDir(t, dir)) {
		t.Error("files have changed")
	}
	return report, err
}

// newerStore is a store with n files that are newer than its manifest.
func newerStore(t *testing.T, n segment.ID) (dir string, names []string) {
	t.Helper()
	dir, m := strayStore(t)
	for i := range n {
		h := segment.Header{ID: m.NextID + 2 + i, Salt: 77 + uint64(i), Kind: segment.Log}
		names = append(names, stray(t, dir, h, recordAt(h, m.LastSeq+1, 10)))
	}
	return dir, names
}

// If the system cannot read an unlisted file, because memory is short for instance, that
// says nothing about the file.
func TestStrayThatTheSystemDoesNotRead(t *testing.T) {
	dir, m := strayStore(t)
	h := segment.Header{ID: m.NextID, Salt: 77, Kind: segment.Log}
	name := filepath.Join(dir, stray(t, dir, h, make([]byte, 4096)))
	before := filesOfDir(t, dir).unlock()
	unreadable := func() *errorfs.Disk {
		disk := errorfs.New(vfs.OS())
		disk.Fail(fails(syscall.ENOMEM, name, errorfs.Read))
		return disk
	}
	o := byHand()
	inject.Into(o, &inject.Seams{FS: unreadable()})
	if _, err := Open(dir, o); !errors.Is(err, syscall.ENOMEM) || errors.Is(err, ErrCorrupt) {
		t.Errorf("Open: %v", err)
	}
	if r, err := verifyThrough(t, t.Context(), unreadable(), dir); !errors.Is(err, syscall.ENOMEM) || len(r.Damages) > 0 {
		t.Errorf("Verify: %+v, %v", r.Damages, err)
	}
	if !maps.Equal(before, filesOfDir(t, dir).unlock()) {
		t.Error("files have changed")
	}
	wantFilled(t, open(t, dir, byHand()), 0, 50, 100)
}

func TestVerifyIsCancelledAmongStrays(t *testing.T) {
	dir, names := newerStore(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	disk := errorfs.New(vfs.OS())
	opened := 0
	disk.Fail(errorfs.Rule{Match: func(op errorfs.Op) bool {
		if op.Kind == errorfs.Open && slices.Contains(names, filepath.Base(op.Name)) {
			opened++
			cancel()
		}
		return false
	}})
	r, err := verifyThrough(t, ctx, disk, dir)
	if !errors.Is(err, context.Canceled) || len(r.Damages) > 0 || r.Segments == 0 || opened != 1 {
		t.Errorf("Verify: %+v, %v; %d files were opened", r, err, opened)
	}
	if r = verified(t, dir); len(r.Damages) != 2 {
		t.Errorf("the next Verify: %+v", r.Damages)
	}
}

// A file that seems newer counts only if the manifest is still the same when it is read
// again. If it cannot be read again, Verify cannot tell.
func TestVerifyThatCannotReadTheManifestAgain(t *testing.T) {
	dir, names := newerStore(t, 1)
	disk := errorfs.New(vfs.OS())
	looked := false
	disk.Fail(errorfs.Rule{Err: syscall.EMFILE, Match: func(op errorfs.Op) bool {
		looked = looked || op.Name == filepath.Join(dir, names[0])
		return looked && op.Kind == errorfs.Open && op.Name == filepath.Join(dir, segment.ManifestName)
	}})
	r, err := verifyThrough(t, t.Context(), disk, dir)
	if !errors.Is(err, syscall.EMFILE) || len(r.Damages) > 0 || disk.Fired() != 1 {
		t.Errorf("Verify: %+v, %v; %d calls have failed", r.Damages, err, disk.Fired())
	}
	if r = verified(t, dir); len(r.Damages) != 1 || r.Damages[0].Kind != NewerData || r.Damages[0].File != names[0] {
		t.Errorf("the next Verify: %+v", r.Damages)
	}
}

// Verify rereads a manifest that seems damaged. If the context has ended by then, Verify
// cannot tell whether the manifest is damaged.
func TestVerifyIsCancelledOverADamagedManifest(t *testing.T) {
	dir, _ := strayStore(t)
	flipAt(t, dir, segment.ManifestName, 20)
	if r := verified(t, dir); len(r.Damages) == 0 {
		t.Fatal("the manifest is not damaged")
	}
	ctx, cancel := context.WithCancel(t.Context())
	disk := errorfs.New(vfs.OS())
	disk.Fail(errorfs.Rule{Match: func(op errorfs.Op) bool {
		if op.Kind == errorfs.Read && op.Name == filepath.Join(dir, segment.ManifestName) {
			cancel()
		}
		return false
	}})
	r, err := verifyThrough(t, ctx, disk, dir)
	if !errors.Is(err, context.Canceled) || len(r.Damages) > 0 {
		t.Errorf("Verify: %+v, %v", r.Damages, err)
	}
}
