package wal

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// partStep is how many bytes of the log each partial hint covers. A recovery scans about as much:
// that takes some 50 ms, while each partial hint costs two syncs.
const partStep = 32 << 20

// partials is how far the tail has partial hints. Maintenance guards it.
//
// What must hold: a partial hint is written only once all that it covers is durable, and it ends
// where a commit ends. The limit of a file is where the last group of commits ended. So maintenance
// notes a limit, and then how far the log is written. Once that is durable, so is all before the
// limit.
type partials struct {
	file    *catalog.File // the tail that this is of; nil: none yet
	next    int           // the number of its next partial hint
	end     segment.End   // where that begins; the number is unknown before the first one
	limit   int64         // where it ends at most; 0: not noted yet
	written uint64        // it can be written once all up to this is durable
	off     bool          // the file gets no more of them
}

// planned is a partial hint to be written.
type planned struct {
	partials       // as they were when it was planned
	step     int64 // how many bytes it covers, if a commit ends there
}

// StepPartial writes the next partial hint of the tail, if there is enough for one, and reports
// whether it tried. Writers never wait for it: it holds no lock while it works.
func (l *Log) StepPartial() (did bool, err error) {
	plan, ok := l.planPartial()
	if !ok {
		return false, nil
	}
	defer plan.file.Release()
	end, size, err := l.writePartial(&plan)
	return true, l.endPartial(&plan, end, size, err)
}

// planPartial decides whether to write a partial hint. The caller releases the file.
func (l *Log) planPartial() (plan planned, ok bool) {
	l.Maintenance.Lock()
	defer l.Maintenance.Unlock()
	p := &l.partials
	f := l.growingLocked()
	if f == nil || l.catalog.Syncer.Err() != nil {
		return plan, false
	}
	if p.file != f && !l.beginPartialsLocked(f) {
		return plan, false
	}
	step := max(l.PartStep, f.Capacity/segment.MaxPartials)
	if p.off || p.next == segment.MaxPartials {
		return plan, false
	}
	if p.limit == 0 {
		if limit := f.Limit(); limit-p.end.Offset >= step {
			p.limit, p.written = limit, l.Written.Load()
		}
	}
	durable := l.catalog.Syncer.Durable() >= p.written
	l.awaited.Store(p.limit != 0 && !durable)
	if p.limit == 0 || !durable || !f.Acquire() {
		return plan, false
	}
	return planned{*p, step}, true
}

// growingLocked returns the file that gets records, nil if there is none.
func (l *Log) growingLocked() *catalog.File {
	for _, f := range slices.Backward(l.catalog.Files.Unsealed()) {
		if _, ended := l.catalog.Files.IsEnded(f); !ended && f != l.Prepared {
			return f
		}
	}
	return nil
}

// beginPartialsLocked begins with a new tail. One that was there before the last Open may have
// partial hints. If the system lacks what it takes to read them, the log begins later.
func (l *Log) beginPartialsLocked(f *catalog.File) bool {
	began := partials{file: f, end: segment.End{Offset: f.DataStart}}
	if f.Partials.Load() > 0 {
		there, err := l.hints.OpenPartials(f, f.Limit(), nil)
		if err != nil {
			return false
		}
		if began.next = len(there.Chain); began.next > 0 {
			began.end = there.End()
		}
		there.Close()
	}
	l.partials = began
	return true
}

// errEnded means that the file ended, and that its whole hint follows.
var errEnded = errors.New("mmapkv: the file has ended")

// growing reads a file as long as it gets records.
type growing struct {
	vfs.File
	ended func() bool
}

// ReadAt reads bytes of the file, or returns errEnded.
func (g growing) ReadAt(p []byte, offset int64) (int, error) {
	if g.ended() {
		return 0, errEnded
	}
	return g.File.ReadAt(p, offset)
}

// writePartial writes a partial hint, and returns where it ends and its size in bytes.
func (l *Log) writePartial(plan *planned) (end segment.End, size int64, err error) {
	f := plan.file
	file := growing{f.Handle(), func() bool {
		_, ended := l.catalog.Files.IsEnded(f)
		return ended || l.Closed()
	}}
	builder, r, err := segment.BuildPartial(file, f.Salt, plan.end.Offset, plan.step, plan.limit, l.quiet.Pause)
	if err == nil && plan.next > 0 && r.From != plan.end {
		err = errors.New("mmapkv: the records do not continue those before them")
	}
	if err == nil {
		err = l.catalog.Reserve.Hold() // that comes first
	}
	if err == nil {
		checkPartial(l, f, r)
		size, err = l.hints.InstallPartial(f, plan.next, builder, r, l.quiet.Pause)
	}
	return r.To, size, err
}

// endPartial notes that a partial hint of size bytes was written, or why not. After an error the file gets no more
// of them. If the file was sealed meanwhile, or the disk became full, the partial hint goes again.
func (l *Log) endPartial(plan *planned, end segment.End, size int64, err error) error {
	l.Maintenance.Lock()
	defer l.Maintenance.Unlock()
	p := &l.partials
	switch {
	case hints.IsFailed(err):
		return err
	case errors.Is(err, errEnded):
	case err != nil:
		l.catalog.Message(slog.LevelWarn, "mmapkv: a partial hint was not written; a recovery would read the records", "file", segment.PartialName(plan.file.ID, plan.next), "error", err)
	}
	if p.file != plan.file {
		p = &partials{} // the log has gone on
	}
	if p.off = p.off || err != nil; p.off || !slices.Contains(l.catalog.Files.Unsealed(), plan.file) {
		l.hints.RemovePartial(plan.file, plan.next)
		return nil
	}
	plan.file.PartialBytes.Add(size)
	p.next, p.end = plan.next+1, end
	if p.limit-end.Offset < plan.step {
		p.limit, p.written = 0, 0
	}
	return nil
}

// DropPartials removes all partial hints, and reports whether there were any. It is for a full disk:
// the file being written gets no new ones.
func (l *Log) DropPartials() (did bool) {
	l.lockInHurry()
	defer l.unlockInHurry()
	if f := l.growingLocked(); f != l.partials.file {
		l.partials = partials{file: f}
	}
	l.partials.off = true
	l.catalog.Files.Mu.Lock()
	order := slices.Clone(l.catalog.Files.Order)
	l.catalog.Files.Mu.Unlock()
	for _, f := range order {
		if f.Partials.Load() > 0 {
			did = true
			l.hints.RemovePartials(f)
		}
	}
	return did
}

// StepHint writes the hint of a file that a recovery sealed, if there is one without, and reports
// whether it did. Nobody compacts meanwhile, since that could remove the file.
func (l *Log) StepHint() (did bool, err error) {
	if l.catalog.Syncer.Err() != nil || l.unhinted() == nil {
		return false, nil
	}
	return l.Exclude(func() (bool, error) {
		f := l.unhinted()
		if f == nil {
			return false, nil
		}
		return true, l.writeHint(f, &l.quiet)
	})
}

// unhinted returns a file whose hint is to be written, nil if there is none.
func (l *Log) unhinted() *catalog.File {
	l.catalog.Files.Mu.Lock()
	defer l.catalog.Files.Mu.Unlock()
	for _, f := range l.catalog.Files.Order {
		if f.HintMissing.Load() {
			return f
		}
	}
	return nil
}

// writeHint writes the hint that a recovery left out. It tries once: without a hint the next Open
// reads the records.
func (l *Log) writeHint(f *catalog.File, p *pace.Pacer) error {
	f.HintMissing.Store(false)
	if err := l.hints.Write(f, f.End, p.Pause); err != nil {
		return err
	}
	l.hints.RemoveReplaced(f)
	return nil
}
