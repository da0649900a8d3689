package mmapkv

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/mmapkv/internal/recovery"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
	"github.com/mmapkv/mmapkv/segment"
)

// Open opens the store in a directory, and recovers what a crash left. It creates the directory
// and its parents if they do not exist. A nil o means all defaults.
//
// Open returns once the end of the log is settled and durable. The index of a store of more than
// 1 MiB then fills in the background: see Ready.
//
// Open returns ErrInvalid if an option is out of its range, ErrLocked if another opener has the
// store, and ErrVersion if its files are of another version. It returns an error that wraps
// ErrCorrupt if the manifest or a segment is missing or unreadable, or if the manifest is older
// than the files beside it, as after restoring it from a copy. With ReadOnly it returns
// fs.ErrNotExist if there is no store. It returns errors.ErrUnsupported where no store can be
// kept: on systems other than linux, darwin and freebsd, and on 32-bit machines. Damage that the
// store can work around is reported in Stats().Recovery and to the Logger, by Open or once the index
// is full.
func Open(dir string, o *Options) (_ *Store, err error) {
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := newStore(options)
	if err := s.enterDir(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if s.loading != nil {
				s.loading.Close()
			}
			err = errors.Join(err, s.release())
		}
	}()
	if err := s.recover(); err != nil {
		return nil, err
	}
	if seams := options.seams; seams != nil && seams.OnOpen != nil {
		seams.OnOpen(s.steps())
	}
	if !s.manual() {
		s.start()
	}
	return s, nil
}

// enterDir opens the directory and takes the lock.
func (s *Store) enterDir(path string) (err error) {
	s.path = path
	fsys := s.options.fileSystem()
	if !s.options.ReadOnly {
		if _, err := vfs.MkdirAll(fsys, path); err != nil {
			return err
		}
	}
	if s.catalog.Dir, err = fsys.OpenDir(path); err != nil {
		return err
	}
	s.catalog.Reserve = reserve.New(s.catalog.Dir)
	if s.lock, err = s.takeLock(); err != nil {
		return errors.Join(err, s.catalog.Dir.Close())
	}
	if !s.options.ReadOnly {
		s.catalog.LockName = catalog.NameOf(s.catalog.Dir, segment.LockName)
	}
	return nil
}

// lockPoll is how long Open waits before it tries the lock again.
const lockPoll = 5 * time.Millisecond

// takeLock takes the lock of the directory, or waits for it as long as LockTimeout allows. On a
// read-only store the lock may be nil.
func (s *Store) takeLock() (vfs.Lock, error) {
	mode := vfs.Exclusive
	if s.options.ReadOnly {
		mode = vfs.Shared
	}
	deadline := time.Now().Add(s.options.LockTimeout)
	for {
		lock, err := s.catalog.Dir.Lock(segment.LockName, mode)
		switch {
		case err == nil:
			return lock, nil
		case s.options.ReadOnly && errors.Is(err, fs.ErrNotExist):
			return nil, nil // no writer has ever been here, or the media is read-only
		case !errors.Is(err, vfs.ErrLocked):
			return nil, err
		case !time.Now().Before(deadline):
			return nil, fmt.Errorf("%w: %w", ErrLocked, err)
		}
		time.Sleep(lockPoll)
	}
}

// recover restores the state that the files describe: the manifest says which files count, and
// recovery decides how far the unsealed ones go. Then the hints fill the index, beside whatever
// follows. A ReadOnly store changes nothing on disk.
func (s *Store) recover() error {
	began := s.now()
	names, err := s.catalog.Dir.Names()
	if err != nil {
		return err
	}
	m, err := s.catalog.ReadManifest(names)
	if err != nil {
		return err
	}
	if err := listing.RefuseNewer(s.catalog.Dir.OpenReadOnly, names, m); err != nil {
		return err
	}
	s.catalog.GoBy(m, names)
	s.syncer.MarkDurable(m.Watermark)
	s.recovery.Clean = m.Clean

	if slices.Contains(names, segment.ReserveName) {
		s.catalog.Reserve.Found()
	}
	if err := s.catalog.OpenFiles(m, names); err != nil {
		return err
	}
	s.catalog.Files.Publish()
	startLoading(s, m.Clean)
	if !m.Clean {
		found, err := recovery.Run(&s.catalog, &s.hints)
		if err != nil {
			return err
		}
		s.recovery.RecordsScanned, s.recovery.RecordsRecovered = found.Scanned, found.Recovered
		s.recovery.BytesDiscarded = found.Discarded
		s.catalog.Files.Publish()
	}
	s.log.Continue()
	if err := s.residency.WarmUp(s.options.Preload); err != nil {
		return err
	}
	if !s.options.ReadOnly {
		if err := s.catalog.RemoveOrphans(); err != nil {
			return err
		}
		if err := s.catalog.Reserve.Hold(); err != nil && !errno.OutOfSpace(err) {
			return err
		}
	}
	s.recovery.Duration = s.now().Sub(began)
	reportRecovery(s)
	continueLoading(s)
	return nil
}

// noteDamage notes damage that Open works around.
func (s *Store) noteDamage(d failure.Damage) {
	s.recovery.Damages = append(s.recovery.Damages, CorruptError(d))
}

// reportRecovery logs what Open found, and sends the events.
func reportRecovery(s *Store) {
	r := s.recovery
	s.events.message(slog.LevelInfo, "mmapkv: opened", "segments", len(s.catalog.Files.Order), "clean", r.Clean,
		"recovered", r.RecordsRecovered, "took", r.Duration)
	s.events.recovered(r)
	for i := range r.Damages {
		s.events.corruption(&r.Damages[i])
	}
}
