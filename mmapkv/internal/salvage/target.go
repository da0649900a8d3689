package salvage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/segment"
)

// checkTarget refuses a directory that is not empty, or that is inside the damaged store. A
// dry run needs no directory.
func (s *salvage) checkTarget(to string) error {
	if to == "" && s.DryRun {
		return nil
	}
	source, err := filepath.Abs(s.from)
	target, targetErr := filepath.Abs(to)
	if err := cmp.Or(err, targetErr); err != nil {
		return err // the working directory is gone
	}
	source = resolve(source)
	for dir := resolve(target); ; dir = filepath.Dir(dir) {
		if dir == source || sameDirectory(dir, source) {
			return fmt.Errorf("%w: salvage cannot write to %s: it is, or is inside, the damaged store", failure.ErrInvalid, to)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	dir, err := s.FS.OpenDir(to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := dir.Names()
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if name != segment.LockName {
			return fmt.Errorf("%w: salvage writes to a new or empty directory, and in %s there is %s", failure.ErrInvalid, to, name)
		}
	}
	return nil
}

// resolve returns an absolute path without symbolic links, as far as it exists.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if path == filepath.Dir(path) {
		return path
	}
	return filepath.Join(resolve(filepath.Dir(path)), filepath.Base(path))
}

// sameDirectory says whether two paths lead to one directory, by a bind mount for example.
func sameDirectory(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// write makes the new store. Until it is complete, its manifest has a name that Open does
// not look for.
func (s *salvage) write(to string, list []version) (err error) {
	unfinished := unfinishedFS{s.FS, to}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.discard(to))
		}
	}()
	store, err := s.Open(unfinished, false)
	if err != nil {
		return err
	}
	err = s.copyTo(list, store.Put)
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	if err := s.check(unfinished, to); err != nil {
		return err
	}
	return s.finish(to)
}

// check opens the new store once more, to see that all is there.
func (s *salvage) check(unfinished unfinishedFS, to string) error {
	store, err := s.Open(unfinished, true)
	if err != nil {
		return err
	}
	keys, damage := store.Len(), store.Damage()
	if err := store.Close(); err != nil {
		return err
	}
	if damage != nil {
		return damage
	}
	// Some keys may have expired by now.
	if keys > s.report.Keys || keys < s.report.Keys-s.report.Expiring {
		return fmt.Errorf("%w: %d keys were written to %s, and it has %d", failure.ErrCorrupt, s.report.Keys, to, keys)
	}
	return nil
}

// finish gives the manifest its name, so that Open accepts the new store.
func (s *salvage) finish(to string) error {
	dir, err := s.FS.OpenDir(to)
	if err != nil {
		return err
	}
	err = dir.Rename(listing.UnfinishedManifest, segment.ManifestName)
	if err == nil {
		err = dir.Sync()
	}
	return errors.Join(err, dir.Close())
}

// discard removes what was made of the new store, except its LOCK.
func (s *salvage) discard(to string) error {
	dir, err := s.FS.OpenDir(to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := dir.Names()
	slices.Reverse(names) // a manifest goes before the segments
	for _, name := range names {
		_, kind, ours := segment.ParseFileName(name)
		if name == listing.UnfinishedManifest || ours && kind != segment.LockFile {
			err = errors.Join(err, dir.Remove(name))
		}
	}
	return errors.Join(err, dir.Close())
}
