//go:build linux

package realdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// descriptors is one more than the maximum number of descriptors left: so few that something
// fails, each time in another place.
const descriptors = 8

// TestNoDescriptorsToSpare leaves only a few descriptors while a store opens, rotates, compacts
// or closes. Calls that cannot work return EMFILE, nothing is lost, and with descriptors
// everything works again.
func TestNoDescriptorsToSpare(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, policy := range policies {
		for spare := range descriptors {
			t.Run(fmt.Sprint(policy, ", ", spare, " to spare"), func(t *testing.T) {
				options := mmapkv.Options{SegmentSize: 16 << 10, Sync: policy}
				options.Compaction.Disabled = true
				s := openChecked(t, t.TempDir(), options)
				s.mustPut(60, 1000)
				s.rotateWithout(spare)
				s.compactWithout(spare)
				s.closeWithout(spare)
				s.openWithout(spare)
				s.mustPut(60, 1000)
				s.compare(nil)
				s.mustClose()
			})
		}
	}
}

// takeDescriptors leaves the process only spare descriptors until giveBack is called.
func takeDescriptors(t *testing.T, spare int) (giveBack func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 256, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, f)
	}
	for range spare {
		taken[0].Close()
		taken = taken[1:]
	}
	return func() {
		for _, f := range taken {
			f.Close()
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}
}

// wantNoDescriptor accepts nil and EMFILE, but not a failed store.
func (s *checkedStore) wantNoDescriptor(what string, err error) {
	s.t.Helper()
	if err != nil && (!errors.Is(err, syscall.EMFILE) || errors.Is(err, mmapkv.ErrFailed)) {
		s.t.Fatalf("%s without descriptors: %v", what, err)
	}
}

// rotateWithout tries to fill several files.
func (s *checkedStore) rotateWithout(spare int) {
	s.t.Helper()
	giveBack := takeDescriptors(s.t, spare)
	var refused []string
	// The background may have held descriptors for a moment, and released them.
	for n := 0; n < 60 || spare == 0 && len(refused) == 0 && n < 1000; n++ {
		key, err := s.putNew(1000)
		s.wantNoDescriptor("Put", err)
		if err != nil {
			refused = append(refused, key)
		}
	}
	if spare == 0 && len(refused) == 0 {
		s.t.Fatal("the store rotated without descriptors")
	}
	for _, key := range s.keys()[:10] {
		if err := s.Delete([]byte(key)); err == nil {
			delete(s.want, key)
		} else {
			s.wantNoDescriptor("Delete", err)
		}
	}
	s.compare(refused)
	giveBack()
	s.mustPut(60, 1000)
	s.compare(refused)
}

// compactWithout makes garbage and tries to compact.
func (s *checkedStore) compactWithout(spare int) {
	s.t.Helper()
	s.deleteSome(40)
	giveBack := takeDescriptors(s.t, spare)
	s.wantNoDescriptor("Compact", s.Compact(context.Background()))
	s.compare(nil)
	giveBack()
	if err := s.Compact(context.Background()); err != nil {
		s.t.Fatalf("Compact: %v", err)
	}
	s.compare(nil)
}

// closeWithout closes the store after a write.
func (s *checkedStore) closeWithout(spare int) {
	s.t.Helper()
	s.mustPut(1, 1000)
	giveBack := takeDescriptors(s.t, spare)
	s.wantNoDescriptor("Close", s.Close())
	giveBack()
	s.open()
	s.compare(nil)
	s.mustPut(20, 1000)
	if s.options.Sync != fsync.Always {
		s.mustClose()
	}
}

// copyKilled copies the store as a kill would leave it now.
func (s *checkedStore) copyKilled() (dir string) {
	s.t.Helper()
	for {
		before := s.manifest()
		dir := s.t.TempDir()
		err := os.CopyFS(dir, os.DirFS(s.dir))
		if err == nil && bytes.Equal(before, s.manifest()) {
			return dir
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
}

// openWithout opens the store after Close or as after a kill.
func (s *checkedStore) openWithout(spare int) {
	s.t.Helper()
	if s.options.Sync == fsync.Always {
		killed := s.copyKilled()
		s.mustClose()
		s.dir = killed
	}
	giveBack := takeDescriptors(s.t, spare)
	store, err := mmapkv.Open(s.dir, &s.options)
	s.wantNoDescriptor("Open", err)
	if err == nil {
		s.wantNoDescriptor("Close", store.Close())
	}
	giveBack()
	s.open()
	s.compare(nil)
}
