package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/segment"
)

// SalvageOptions says how a damaged store is brought over. The zero value takes
// what counts, and restores nothing that damage has made doubtful.
type SalvageOptions struct {
	// DryRun reads all and reports, and writes nothing.
	DryRun bool
	// OlderVersions restores, for a key whose newest value cannot be read, the
	// newest one that can. Such a key is still counted and listed as lost.
	OlderVersions bool
	// IgnoreManifest treats the directory as if it had no manifest: for one that is
	// not the directory's. Salvage tells which files a manifest does not name.
	IgnoreManifest bool
	// Progress is called now and then with how much of the work is done, both in
	// the same unit.
	Progress func(done, total int64)
	// Options are those of the new store; nil means the defaults. ReadOnly and
	// Compaction mean nothing here.
	Options *Options
}

// Salvage brings what can be read of the store in the directory from into a new
// store in the directory to, which is absent or empty, a LOCK apart, and lies
// outside of from. It creates and changes nothing in from, takes a shared lock
// there, and returns ErrLocked while a writer has the store.
//
// Every record that validates and counts is found, also behind damage. For each
// key the highest sequence number decides, never a clock or the order of files.
// If that record is a tombstone or has expired, the key is gone; the others keep
// their expiry. If its value is damaged, the key is lost, and reported: an older
// value does not silently come back, but see SalvageOptions.OlderVersions. Where
// not even the key can be read, the segment's hint tells which keys and deletes
// lay there; without a hint the range is reported, and an older record that it may
// have ended comes back.
//
// Which records count:
//
//   - With a readable manifest, those that Open would take: of the files that it
//     names up to the ends that it names, and as far as recovery follows the log.
//     A file is found by its header where it has another's name. Other files are
//     listed in the report and not read, for they may hold what was deleted.
//   - An older manifest, put back from a copy, names too little. If there is newer data
//     than it knows, for which Open would refuse it, it counts as none.
//   - Without one nothing tells a torn end from damage, so all that validates
//     counts, but for three things. What the log itself passes over does not: a
//     file's first record tells which numbers were written and never
//     acknowledged. A batch at the very end of the log that is not whole does not,
//     unless it was known to be on disk. And the files that a compaction has
//     replaced do not, where it was finished: the tombstones are gone that ended
//     what is in them. It was finished if the merged file reads back whole and has
//     its hint, which is written last, or if one of the replaced files is gone.
//     (After a power loss in the midst of a compaction, a merged file can be whole
//     and not yet count. Then a value is missing that the lost end of the log had
//     overwritten.)
//
// A file whose header is damaged is read with the salt that the manifest has, or
// with what the header has in its place. If neither is right, nothing in it
// validates, and all of it is reported as lost.
//
// That something is lost is no error; see SalvageReport.Complete. An error, or a
// cancelled context, leaves of the new store at most the empty directory with its
// LOCK. While Salvage runs, and when it is killed, the directory is no store that
// Open accepts once there is a segment in it, and to salvage that is told
// in SalvageReport.Unfinished.
//
// It takes up to 170 bytes of memory a key, and the largest value.
func Salvage(ctx context.Context, from, to string, o *SalvageOptions) (SalvageReport, error) {
	s, err := newSalvage(ctx, o)
	if err != nil {
		return SalvageReport{}, err
	}
	if err := s.checkTarget(from, to); err != nil {
		return SalvageReport{}, err
	}
	err = s.run(from, to)
	s.report.order()
	return s.report, err
}

// salvage is one call of Salvage.
type salvage struct {
	SalvageOptions
	ctx   context.Context
	store Options // of the new store
	fsys  vfs.FS
	from  string
	dir   vfs.Dir // from
	now   time.Time

	manifest *segment.Manifest // nil when there is none to go by
	found    []*foundFile
	sources  []*source
	newest   versions
	version  error // a file is of a version that is not known
	report   SalvageReport

	// Without a manifest:
	present   map[segment.ID]bool
	watermark uint64 // the highest that was seen
	lastSeq   uint64 // of the log
	voids     []void

	scanned, done, total int64 // of the work, in bytes
}

func newSalvage(ctx context.Context, o *SalvageOptions) (*salvage, error) {
	s := &salvage{ctx: ctx, newest: newVersions()}
	if o != nil {
		s.SalvageOptions = *o
	}
	var err error
	if s.store, err = s.Options.withDefaults(); err != nil {
		return nil, err
	}
	s.store.ReadOnly, s.store.Compaction.Disabled = false, true
	s.fsys, s.now = s.store.fileSystem(), s.store.clock()()
	return s, nil
}

func (s *salvage) run(from, to string) (err error) {
	s.from = from
	if s.dir, err = s.fsys.OpenDir(from); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.dir.Close()) }()
	lock, err := s.dir.Lock(segment.LockName, vfs.Shared)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, lock.Unlock()) }()
	case errors.Is(err, vfs.ErrLocked):
		return fmt.Errorf("%w: %w", ErrLocked, err)
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

// read finds out what there is, and the newest version of each key.
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
	if s.manifest != nil {
		err = s.readListed()
	} else {
		err = s.readUnlisted()
	}
	if err == nil && s.report.Records == 0 && s.version != nil {
		err = fmt.Errorf("%w: %w", ErrVersion, s.version)
	}
	return err
}

func (s *salvage) readManifest(names []string) error {
	ours := slices.ContainsFunc(names, func(name string) bool {
		_, kind, ok := segment.ParseFileName(name)
		return ok && (kind == segment.SegmentFile || kind == segment.HintFile || kind == segment.ManifestFile)
	})
	if !ours {
		return fmt.Errorf("mmapkv: there is no store: %w", &fs.PathError{Op: "open", Path: s.from, Err: fs.ErrNotExist})
	}
	s.report.Unfinished = listing.Unfinished(names)
	if s.IgnoreManifest {
		return nil
	}
	content, err := s.content(segment.ManifestName, segment.MaxManifestSize)
	if err == nil {
		s.manifest, err = segment.ParseManifest(content)
	}
	switch {
	case errors.Is(err, segment.ErrVersion):
		s.version = err
	case refusesUs(err):
		return err
	case errors.Is(err, fs.ErrNotExist) && s.report.Unfinished:
		err = errors.New(listing.UnfinishedReason)
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("it is missing")
	}
	if err == nil {
		if err = s.checkManifest(names); refusesUs(err) {
			return err
		}
	}
	if err != nil {
		s.noteDamage(segment.ManifestName, 0, err.Error())
		s.manifest = nil
	}
	s.report.Manifest = err == nil
	return nil
}

// checkManifest is an error if the manifest is not to go by, since there are files
// that are newer.
func (s *salvage) checkManifest(names []string) error {
	open := func(name string) (vfs.File, error) { return s.open(name) }
	newer, err := listing.FindNewer(open, names, s.manifest)
	if refusesUs(err) {
		return err
	}
	if len(newer) > 0 {
		return errors.New(listing.OlderManifest(newer, s.manifest))
	}
	return nil // what cannot be read is told where it is needed
}
