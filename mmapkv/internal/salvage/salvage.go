package salvage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// Options says how Run goes about it. The first four are those of mmapkv.SalvageOptions.
type Options struct {
	// DryRun reads all and reports, and writes nothing.
	DryRun bool
	// OlderVersions restores, for a key whose newest value cannot be read, the newest
	// one that can be read.
	OlderVersions bool
	// IgnoreManifest treats the directory as if it had no manifest.
	IgnoreManifest bool
	// Progress, if not nil, is told how much of the work is done, both in one unit. It
	// is called under no lock.
	Progress func(done, total int64)

	// FS is where both stores are.
	FS vfs.FS
	// Now is the time at which records have expired or not.
	Now time.Time
	// Open opens the new store on a file system. It makes the directory if readOnly is
	// not set.
	Open func(fsys vfs.FS, readOnly bool) (Target, error)
}

// Target is the new store.
type Target interface {
	// Put stores a value. expiry is in milliseconds since 1970, 0 for never.
	Put(key, value []byte, expiry int64) error
	// Len is how many keys the store has.
	Len() int
	// Damage is the first damage that Open has found, nil if there is none.
	Damage() error
	// Close closes the store.
	Close() error
}

// Run brings what can be read of the store in the directory from into the directory to.
// It returns failure.ErrInvalid if to cannot take a new store, and failure.ErrLocked
// while a writer has the damaged one.
func Run(ctx context.Context, from, to string, o Options) (Report, error) {
	s := &salvage{Options: o, ctx: ctx, from: from, newest: newVersions()}
	if err := s.checkTarget(to); err != nil {
		return Report{}, err
	}
	err := s.run(to)
	s.report.order()
	return s.report, err
}

// salvage is one call of Run.
type salvage struct {
	Options
	ctx  context.Context
	from string
	dir  vfs.Dir // from

	manifest *segment.Manifest // nil if there is none to go by
	found    []*foundFile
	partials map[segment.ID][]string // the names of the partial hints of a segment, in order
	sources  []*source
	newest   versions
	version  error // a file has an unknown version
	report   Report

	// Without a manifest:
	present   map[segment.ID]bool
	watermark uint64 // the highest that any record or hint carries
	lastSeq   uint64 // the highest number in the log
	gaps      []gap

	scanned, done, total int64 // of the work, in bytes
}

func (s *salvage) run(to string) (err error) {
	if s.dir, err = s.FS.OpenDir(s.from); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.dir.Close()) }()
	lock, err := s.dir.Lock(segment.LockName, vfs.Shared)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, lock.Unlock()) }()
	case errors.Is(err, vfs.ErrLocked):
		return fmt.Errorf("%w: %w", failure.ErrLocked, err)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := s.read(); err != nil {
		return err
	}
	list := s.newest.settle(s)
	if s.DryRun {
		return s.copyTo(list, func([]byte, []byte, int64) error { return nil })
	}
	return s.write(to, list)
}

// read finds the files, and the newest version of each key.
func (s *salvage) read() error {
	names, err := s.dir.Names()
	if err != nil {
		return err
	}
	if err := s.readManifest(names); err != nil {
		return err
	}
	if err := s.findFiles(names); err != nil {
		return err
	}
	s.findPartials(names)
	if s.manifest != nil {
		err = s.readListed()
	} else {
		err = s.readUnlisted()
	}
	if err == nil && s.report.Records == 0 && s.version != nil {
		err = fmt.Errorf("%w: %w", failure.ErrVersion, s.version)
	}
	return err
}
