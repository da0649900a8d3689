//go:build linux || darwin || freebsd

package vfstest_test

import (
	"testing"

	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/transcript"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/internal/vfs/vfstest"
)

func TestEveryDiskKeepsThePromises(t *testing.T) {
	for name, newFS := range map[string]func(t *testing.T) (vfs.FS, string){
		"real":                 func(t *testing.T) (vfs.FS, string) { return vfs.OS(), t.TempDir() },
		"crashfs":              newCrashFS,
		"errorfs over real":    func(t *testing.T) (vfs.FS, string) { return errorfs.New(vfs.OS()), t.TempDir() },
		"errorfs over crashfs": func(t *testing.T) (vfs.FS, string) { return errorfs.New(crashfs.New()), "/" },
		"transcript":           func(t *testing.T) (vfs.FS, string) { return transcript.New(nil).Of(crashfs.New()), "/" },
	} {
		t.Run(name, func(t *testing.T) { vfstest.Run(t, newFS) })
	}
}

// newCrashFS also checks that the subtest releases everything it opens.
func newCrashFS(t *testing.T) (vfs.FS, string) {
	d := crashfs.New()
	t.Cleanup(func() {
		if held := d.Held(); held > 0 {
			t.Errorf("%d handles, mappings and locks are still open", held)
		}
	})
	return d, "/"
}
