package hints

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// The partial hints of an unsealed file say what a prefix of it holds, so that a recovery need not
// scan that. What must hold:
//
//   - A partial hint covers whole commits, which were durable before it was written.
//   - It is used only if it belongs to the file, and begins where the one before it ends; the first
//     one begins with the first record. One that is lost or damaged costs time, never a key: from
//     there on the records are scanned.
//   - It stays until the hint of the whole file has taken its place. Until then it may be all that
//     knows of a record which cannot be read any more.

// Partials is what the partial hints of a file say, as far as they can be used.
type Partials struct {
	Chain  []*segment.Partial // each begins where the one before it ends
	Synced uint64             // all records up to it were on disk, as any of the partial hints says
	opened []io.Closer
}

// End is where the chain ends, zero if it is empty.
func (p *Partials) End() (end segment.End) {
	if n := len(p.Chain); n > 0 {
		end = p.Chain[n-1].To
	}
	return end
}

// Close closes the partial hints. They must not be read afterwards.
func (p *Partials) Close() {
	for _, f := range p.opened {
		_ = f.Close() // it was only read
	}
	p.opened = nil
}

// OpenPartials opens the partial hints of an unsealed file. The file has size bytes. The chain ends before a partial hint that covers more than that, or whose last
// record is not in the file. It then only says what was on disk. An error says that the system lacks
// something: without a partial hint that is there, records would be cut off that were on disk. pause is
// passed to segment.OpenPartial.
func (h *Hints) OpenPartials(f *catalog.File, size int64, pause func()) (*Partials, error) {
	p, bytes := new(Partials), int64(0)
	defer func() { f.PartialBytes.Store(bytes) }()
	for n := range int(f.Partials.Load()) {
		one, file, err := h.openPartial(f, n, size, pause)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errno.Scarce(err) {
			p.Close()
			return nil, err
		}
		if err != nil {
			h.catalog.Message(slog.LevelWarn, "mmapkv: a partial hint is of no use; the records are read instead", "file", segment.PartialName(f.ID, n), "error", err)
			continue
		}
		p.Synced = max(p.Synced, one.To.Seq)
		bytes += one.Size()
		if len(p.Chain) < n || !p.continues(f, one) || one.To.Offset > size || !one.IsIn(f.Handle(), f.Salt) {
			_ = file.Close() // it was only read
			continue
		}
		p.Chain, p.opened = append(p.Chain, one), append(p.opened, file)
	}
	return p, nil
}

// continues reports whether a partial hint of a file begins where the chain ends.
func (p *Partials) continues(f *catalog.File, one *segment.Partial) bool {
	if len(p.Chain) == 0 {
		return one.From.Offset == f.DataStart
	}
	return one.From == p.End()
}

func (h *Hints) openPartial(f *catalog.File, n int, size int64, pause func()) (*segment.Partial, io.Closer, error) {
	file, hintSize, err := patient.OpenBounded(h.catalog.Dir, segment.PartialName(f.ID, n), segment.MaxHintSize(max(size, f.Capacity)))
	if err != nil {
		return nil, nil, err
	}
	one, err := segment.OpenPartial(file, hintSize, f.ID, f.Salt, pause)
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return one, file, nil
}

// InstallPartial publishes partial hint n of a file. The error wraps failure.ErrFailed, or says that
// the partial hint was left out, which only costs a recovery time. The caller adds the size in bytes
// to File.PartialBytes if the partial hint stays.
func (h *Hints) InstallPartial(f *catalog.File, n int, b *segment.HintBuilder, r segment.Range, pause func()) (size int64, err error) {
	if err := h.catalog.Latch.Err(); err != nil {
		return 0, err // what was believed durable may not be
	}
	content := b.EncodePartial(f.ID, f.Salt, r)
	f.Partials.Store(max(f.Partials.Load(), int32(n)+1))
	if err := fsync.Publish(h.catalog.Dir, segment.PartialName(f.ID, n), content, pause); err != nil {
		return 0, h.catalog.Latch.WriteError(err)
	}
	return int64(len(content)), nil
}

// RemoveReplaced removes the partial hints of a file if it has its whole hint, which was just written
// or left out.
func (h *Hints) RemoveReplaced(f *catalog.File) {
	if f.HintBytes.Load() > 0 {
		h.RemovePartials(f)
	}
}

// RemovePartials removes the partial hints of a file. If that fails, it logs that, and the next Open
// removes them.
func (h *Hints) RemovePartials(f *catalog.File) {
	for n := range int(f.Partials.Swap(0)) {
		h.RemovePartial(f, n)
	}
	f.PartialBytes.Store(0)
}

// RemovePartial removes partial hint n of a file, if there is one.
func (h *Hints) RemovePartial(f *catalog.File, n int) {
	name := segment.PartialName(f.ID, n)
	if err := h.catalog.Unlink(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.catalog.Message(slog.LevelWarn, "mmapkv: a partial hint that is no longer needed could not be removed", "file", name, "error", err)
	}
}

// addLostPartials adds to a hint the records that partial hints of the file have in its damaged
// ranges and before end. An error says that the system lacks something.
func (h *Hints) addLostPartials(f *catalog.File, hint *segment.HintBuilder, end int64) error {
	for n := range int(f.Partials.Load()) {
		one, file, err := h.openPartial(f, n, end, nil)
		if errno.Scarce(err) {
			return err // what only this partial hint knows would be lost for good
		}
		if err != nil {
			continue
		}
		err = hint.AddLost(one.Table, end)
		_ = file.Close() // it was only read
		if errno.Scarce(err) {
			return err
		}
		// After any other error, the parts that can be read were added.
	}
	return nil
}

// IsFailed reports whether an error of InstallPartial is final.
func IsFailed(err error) bool { return errors.Is(err, failure.ErrFailed) }
