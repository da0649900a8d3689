//go:build linux || darwin || freebsd

package vfstest_test

import (
	"testing"

	"github.com/mmapkv/mmapkv/internal/faulty"
	"github.com/mmapkv/mmapkv/internal/forgetful"
	"github.com/mmapkv/mmapkv/internal/transcript"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/internal/vfs/vfstest"
)

func TestEveryDiskKeepsThePromises(t *testing.T) {
	for name, newFS := range map[string]func(t *testing.T) (vfs.FS, string){
		"real":                  func(t *testing.T) (vfs.FS, string) { return vfs.OS(), t.TempDir() },
		"forgetful":             newForgetful,
		"faulty over real":      func(t *testing.T) (vfs.FS, string) { return faulty.New(vfs.OS()), t.TempDir() },
		"faulty over forgetful": func(t *testing.T) (vfs.FS, string) { return faulty.New(forgetful.New()), "/" },
		"transcript":            func(t *testing.T) (vfs.FS, string) { return transcript.New(nil).Of(forgetful.New()), "/" },
	} {
		t.Run(name, func(t *testing.T) { vfstest.Run(t, newFS) })
	}
}

// newForgetful also checks that the subtest gives back all that it opens.
func newForgetful(t *testing.T) (vfs.FS, string) {
	d := forgetful.New()
	t.Cleanup(func() {
		if held := d.Held(); held > 0 {
			t.Errorf("%d handles, mappings and locks are left", held)
		}
	})
	return d, "/"
}
