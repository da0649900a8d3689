package mmapkv

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/check"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// VerifyOptions configures Verify. The zero value means the defaults.
type VerifyOptions struct {
	// Progress, if set, is called from time to time by the goroutine that called Verify. done is
	// how many bytes of the segments have been read, and total how many there are to read. If a
	// writer has the store open, total can change.
	Progress func(done, total int64)

	seams *inject.Seams
}

// Verify reads every record, every hint and the manifest of the store in a directory, and reports
// what is damaged. It takes no lock and changes nothing. It works while a writer has the store
// open, in this process or another, and on read-only media. A nil o means all defaults.
//
// Damage is not an error of Verify: see Report.Err. While a writer has the store open, and after
// a crash, what lies past the last known sync is still changing or was never promised, so it is
// not damage. Verify may leave out what a writer adds after Verify has begun.
//
// Verify returns fs.ErrNotExist if there is no directory or no store in it, ErrVersion if the
// manifest is of another version, and the context's error if that ends. The report then says what
// was seen so far. The memory that Verify takes is bounded by the size of the largest segment,
// whatever the files say.
func Verify(ctx context.Context, dir string, o *VerifyOptions) (Report, error) {
	var options VerifyOptions
	if o != nil {
		options = *o
	}
	fsys := vfs.OS()
	if seams := options.seams; seams != nil && seams.FS != nil {
		fsys = seams.FS
	}
	opened, err := fsys.OpenDir(dir)
	if err != nil {
		return Report{}, err
	}
	r, err := check.Verify(opened, check.Options{Pacer: &pace.Pacer{Ctx: ctx}, Progress: options.Progress})
	return newReport(r), errors.Join(err, opened.Close())
}

// VerifyNamespace calls Verify for the directory that OpenNamespace opens.
func VerifyNamespace(ctx context.Context, name string, o *VerifyOptions) (Report, error) {
	if err := checkNamespace(name); err != nil {
		return Report{}, err
	}
	return Verify(ctx, filepath.Join(Root(), name), o)
}

// Verify does what the function Verify does, for an open store. It also reports records that were
// acknowledged before the call and cannot be read. It gives way to reads and writes. Close ends
// it, with ErrClosed.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	if s.closed.Load() {
		return Report{}, ErrClosed
	}
	ctx, done := pace.OwnContext(ctx)
	defer done()
	rank.Acquire[rank.InFlight]()
	s.writing.Add(1) // Close waits for it as for a write
	defer s.endWrite()
	if s.closed.Load() {
		return Report{}, ErrClosed
	}
	pacer, ended := s.newQuietPacer(ctx, 0)
	defer ended()
	r, err := check.Verify(s.catalog.Dir, check.Options{Pacer: pacer, Known: s.log.Written.Load()})
	return newReport(r), err
}

// newQuietPacer makes the pacer of a check or a sweep, which gives way to all reads and writes.
// budget is in bytes a second; 0 is no limit.
func (s *Store) newQuietPacer(ctx context.Context, budget int64) (p *pace.Pacer, done func()) {
	p = &pace.Pacer{Ctx: ctx, Stop: s.stop, Budget: budget, Hurry: s.closed.Load, Busy: s.beingWritten, Began: time.Now()}
	if s.manual() {
		return p, func() {}
	}
	p.Napper = nap.New()
	return p, p.Napper.Close
}
