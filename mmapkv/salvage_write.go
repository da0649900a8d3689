package mmapkv

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// checkTarget refuses a directory to salvage to in which there is something, or
// which belongs to what is salvaged. An empty name is none, for a dry run.
func (s *salvage) checkTarget(from, to string) error {
	if to == "" && s.DryRun {
		return nil
	}
	source, err := filepath.Abs(from)
	target, targetErr := filepath.Abs(to)
	if err := cmp.Or(err, targetErr); err != nil {
		return err // the working directory is gone
	}
	source = resolve(source)
	for dir := resolve(target); ; dir = filepath.Dir(dir) {
		if dir == source || sameDirectory(dir, source) {
			return fmt.Errorf("%w: salvage cannot write to %s: it is, or is inside, the damaged store", ErrInvalid, to)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	dir, err := s.fsys.OpenDir(to)
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
			return fmt.Errorf("%w: salvage writes to a new or empty directory, and in %s there is %s", ErrInvalid, to, name)
		}
	}
	return nil
}

// resolve is an absolute path without symbolic links, as far as there is something.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if path == filepath.Dir(path) {
		return path
	}
	return filepath.Join(resolve(filepath.Dir(path)), filepath.Base(path))
}

// sameDirectory says whether two paths lead to one directory, by a bind mount say.
func sameDirectory(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// write makes the new store. Until it is complete its manifest has a name that
// Open does not look for.
func (s *salvage) write(to string, list []version) (err error) {
	o := s.store
	o.seams = new(inject.Seams)
	if s.store.seams != nil {
		*o.seams = *s.store.seams
	}
	o.seams.FS = unfinishedFS{s.fsys, to}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.discard(to))
		}
	}()
	store, err := Open(to, &o)
	if err != nil {
		return err
	}
	err = s.copyTo(list, store.put)
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	if err := s.check(to, o); err != nil {
		return err
	}
	return s.finish(to)
}

// check opens the new store once more, to see that all is there.
func (s *salvage) check(to string, o Options) error {
	o.ReadOnly = true
	store, err := Open(to, &o)
	if err != nil {
		return err
	}
	keys, damages := store.Len(), store.recovery.Damages
	if err := store.Close(); err != nil {
		return err
	}
	if len(damages) > 0 {
		return &damages[0]
	}
	// What expires may have done so by now.
	if keys > s.report.Keys || keys < s.report.Keys-s.report.Expiring {
		return fmt.Errorf("%w: %d keys were written to %s, and it has %d", ErrCorrupt, s.report.Keys, to, keys)
	}
	return nil
}

// finish makes the new store one that Open accepts.
func (s *salvage) finish(to string) error {
	dir, err := s.fsys.OpenDir(to)
	if err != nil {
		return err
	}
	err = dir.Rename(listing.UnfinishedManifest, segment.ManifestName)
	if err == nil {
		err = dir.Sync()
	}
	return errors.Join(err, dir.Close())
}

// discard removes what was made of the new store, its LOCK apart.
func (s *salvage) discard(to string) error {
	dir, err := s.fsys.OpenDir(to)
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

// unfinishedFS has in one directory another name for the manifest.
type unfinishedFS struct {
	vfs.FS
	path string
}

func (f unfinishedFS) OpenDir(path string) (vfs.Dir, error) {
	dir, err := f.FS.OpenDir(path)
	if err != nil || path != f.path {
		return dir, err
	}
	return unfinishedDir{dir}, nil
}

type unfinishedDir struct{ vfs.Dir }

func (d unfinishedDir) Open(name string) (vfs.File, error) {
	return d.Dir.Open(unfinishedName(name))
}

func (d unfinishedDir) OpenReadOnly(name string) (vfs.File, error) {
	return d.Dir.OpenReadOnly(unfinishedName(name))
}

func (d unfinishedDir) Rename(oldName, newName string) error {
	return d.Dir.Rename(oldName, unfinishedName(newName))
}

func unfinishedName(name string) string {
	if name == segment.ManifestName {
		return listing.UnfinishedManifest
	}
	return name
}

// copyTo reads the records and hands them on.
func (s *salvage) copyTo(list []version, put func(key, value []byte, expiry int64) error) error {
	var in *source
	var f *patient.Reader
	defer func() {
		if f != nil {
			_ = f.Close() // nothing was written to it
		}
	}()
	var buffer []byte
	for i, v := range list {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if from := s.sources[v.file]; from != in {
			if f != nil {
				_ = f.Close()
			}
			var err error
			if f, err = s.open(from.name); err != nil {
				f = nil
				return err
			}
			in = from
		}
		var r segment.Record
		var err error
		buffer, err = in.load(f, &r, buffer, v.offset())
		if err != nil {
			s.lose(LostKey{Key: slices.Clone(r.Key), File: in.name, Offset: v.offset(), Seq: v.seq})
			continue
		}
		if err := put(r.Key, r.Value, r.Expiry); err != nil {
			return err
		}
		s.report.Keys++
		s.report.Bytes += int64(len(r.Key)) + int64(len(r.Value))
		if r.Expiry != 0 {
			s.report.Expiring++
		}
		s.showProgress(s.total/2 + int64(float64(s.total/2)*float64(i+1)/float64(len(list))))
	}
	return nil
}

// progressStep is how often, of all the work, Progress is called.
const progressStep = 1000

func (s *salvage) showProgress(done int64) {
	if s.Progress != nil && (done-s.done > s.total/progressStep || done == s.total) {
		s.done = done
		rank.AssertNone("SalvageOptions.Progress")
		s.Progress(done, s.total)
	}
}
