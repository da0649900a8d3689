package mmapkv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// In a working directory that has been removed, nobody can tell whether a relative path
// leads into the store. If either path of Salvage is relative, Salvage says so and does
// nothing. Absolute paths still work.
func TestSalvageInADirectoryThatIsGone(t *testing.T) {
	parent := t.TempDir()
	from, gone := filepath.Join(parent, "from"), filepath.Join(parent, "gone")
	s := open(t, from, byHand())
	fill(t, s, 0, 100, 100)
	closeStore(t, s)
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(gone)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Getwd(); err == nil {
		t.Fatal("the system does not tell that the working directory is gone")
	}
	to := filepath.Join(parent, "to")
	for _, paths := range [][2]string{{"../from", to}, {from, "../to"}, {"../from", "../to"}, {"../from", "../from/to"}} {
		_, err := Salvage(t.Context(), paths[0], paths[1], nil)
		if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "getwd") {
			t.Errorf("Salvage from %s to %s: %v", paths[0], paths[1], err)
		}
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 1 {
		t.Errorf("there are %v, %v", entries, err)
	}
	wantBroughtOver(t, from, to, 100)
}
