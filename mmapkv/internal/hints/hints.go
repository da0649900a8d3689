// Package hints opens, rebuilds and publishes hints. The hint of a segment says which keys its
// records have, and where they lie.
//
// What must hold:
//
//   - A hint is used only if it covers exactly the records of its segment that count. Each part of
//     it is checked before it is used.
//   - A lost or damaged hint, or one of an older version, costs time, never a key: it is rebuilt
//     from the records.
package hints

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// Hints opens, rebuilds and publishes the hints of a store's files.
type Hints struct{ catalog *catalog.Catalog }

// New returns the Hints of a catalog's files.
func New(c *catalog.Catalog) Hints { return Hints{c} }

// Open opens the hint of a file that has ended. The error says why the hint cannot be used. The
// caller closes the Hint. pause is passed to segment.OpenTable.
func (h *Hints) Open(f *catalog.File, pause func()) (*Hint, error) {
	return h.OpenTo(f, f.End, false, pause)
}

// OpenTo is Open for a file whose records reach an end. orMore says that the file may have got more
// records since, and then another hint, which covers these too.
func (h *Hints) OpenTo(f *catalog.File, end segment.End, orMore bool, pause func()) (*Hint, error) {
	from, size, err := patient.OpenBounded(h.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(max(end.Offset, f.Limit())))
	if err != nil {
		return nil, err
	}
	hint, err := segment.OpenTable(from, size, f.ID, f.Salt, pause)
	if err == nil && hint.Covers != end && !(orMore && hint.Covers.Offset > end.Offset) {
		err = fmt.Errorf("mmapkv: the hint covers %d bytes of %d", hint.Covers.Offset, end.Offset)
	}
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	f.HintBytes.Store(hint.Size())
	return &Hint{hint, from}, nil
}

// Rebuild makes the hint of a file that has ended from its records, and checks each of them. If
// the file is sealed and the store is not read-only, Rebuild also publishes the hint for the next
// Open. pause is passed to segment.BuildHint.
func (h *Hints) Rebuild(f *catalog.File, pause func()) (*Hint, error) {
	hint, err := h.RebuildTo(f, f.Handle(), f.End, f.Active == nil, pause)
	if err != nil {
		return nil, err
	}
	return hint, nil
}

// RebuildTo is Rebuild for a file whose records reach an end, and are read from r. It publishes the
// hint if the store is not read-only and publish says so. If that fails with an error that wraps
// failure.ErrFailed, RebuildTo returns both the error and the hint.
func (h *Hints) RebuildTo(f *catalog.File, r io.ReaderAt, end segment.End, publish bool, pause func()) (*Hint, error) {
	builder, err := h.buildFrom(r, f, end, pause)
	if err != nil {
		return nil, err
	}
	content := builder.Encode(f.ID, f.Salt, end, end.Seq)
	var failed error
	if !h.catalog.ReadOnly && publish {
		var size int64
		if size, failed = h.install(f.ID, content, pause); failed == nil {
			f.HintBytes.Store(size)
			f.HintMissing.Store(false)
			h.RemoveReplaced(f)
		}
	}
	hint, err := segment.OpenTableIn(content, f.ID, f.Salt, pause)
	if err != nil {
		return nil, err
	}
	return &Hint{Table: hint}, failed
}

// build makes the hint of a file that ends at end from its records. If some cannot be read, build
// takes their keys from the file's present hint, such as one that Close wrote, and from its partial
// ones. Otherwise older values of these keys would reappear.
func (h *Hints) build(f *catalog.File, end segment.End, pause func()) (*segment.HintBuilder, error) {
	return h.buildFrom(f.Handle(), f, end, pause)
}

// buildFrom is build with what the records are read from.
func (h *Hints) buildFrom(r io.ReaderAt, f *catalog.File, end segment.End, pause func()) (*segment.HintBuilder, error) {
	hint, err := segment.BuildHint(r, f.Salt, f.DataStart, end.Offset, pause)
	if err != nil || !hint.Damaged() {
		return hint, err
	}
	if err := h.addLostPartials(f, hint, end.Offset); err != nil {
		return nil, err
	}
	if err = h.addLost(f, hint, end, pause); errno.Scarce(err) {
		return nil, err // what only the present hint knows would be lost for good
	}
	return hint, nil // after any other error, with what can be read
}

// addLost adds to a hint what the file's present hint knows of the damaged ranges.
func (h *Hints) addLost(f *catalog.File, hint *segment.HintBuilder, end segment.End, pause func()) error {
	from, size, err := patient.OpenBounded(h.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(end.Offset))
	if err != nil {
		return err
	}
	defer from.Close()
	present, err := segment.OpenTable(from, size, f.ID, f.Salt, pause)
	if err != nil {
		return err
	}
	return hint.AddLost(present, end.Offset)
}

// Write builds and publishes the hint of a file that ends at end. If the records cannot be read,
// or the hint does not fit on the disk, Write logs that and leaves the hint out, which only costs
// the next Open time. The error wraps failure.ErrFailed. pause is passed to segment.BuildHint.
func (h *Hints) Write(f *catalog.File, end segment.End, pause func()) error {
	hint, err := h.build(f, end, pause)
	if err != nil {
		h.catalog.Message(slog.LevelWarn, "mmapkv: a segment could not be read for its hint", "file", segment.FileName(f.ID), "error", err)
		f.HintBytes.Store(0)
		return nil
	}
	return h.Install(f, hint, end, pause)
}

// Install publishes the hint that was built from the records of a file that ends at end. Its error
// is that of Write. pause is passed to fsync.Publish.
func (h *Hints) Install(f *catalog.File, hint *segment.HintBuilder, end segment.End, pause func()) error {
	size, err := h.install(f.ID, hint.Encode(f.ID, f.Salt, end, h.catalog.Syncer.Durable()), pause)
	f.HintBytes.Store(size)
	return err
}

// install publishes an encoded hint, and returns what its entries take as segment.HintSize
// estimates, 0 if the hint was left out.
func (h *Hints) install(id segment.ID, content []byte, pause func()) (size int64, err error) {
	if err = fsync.Publish(h.catalog.Dir, segment.HintName(id), content, pause); err == nil {
		return segment.HintSize(content), nil
	}
	if err := h.catalog.Latch.WriteError(err); errors.Is(err, failure.ErrFailed) {
		return 0, err
	}
	h.catalog.Message(slog.LevelWarn, "mmapkv: a hint could not be written", "file", segment.HintName(id), "error", err)
	return 0, nil
}

// With calls use with the hint of a sealed file, and closes the hint. If the hint cannot be opened,
// or use fails, With rebuilds the hint from the records and calls use with that one. It does not
// rebuild after an error that says the system lacks something. pause is passed to Open and Rebuild.
func (h *Hints) With(f *catalog.File, pause func(), use func(*Hint) error) error {
	hint, err := h.Open(f, pause)
	if err == nil {
		err = use(hint)
		hint.Close()
	}
	if err == nil || errno.Scarce(err) {
		return err
	}
	if hint, err = h.Rebuild(f, pause); err != nil {
		return fmt.Errorf("mmapkv: the hint of %s: %w", segment.FileName(f.ID), err)
	}
	return use(hint)
}

// Count returns the number of keys that the hint of a file claims whose records reach an end, 0 if the
// hint cannot be read. It verifies nothing, but returns no more than the file can hold.
func (h *Hints) Count(f *catalog.File, end segment.End) int {
	hint, size, err := patient.OpenBounded(h.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(end.Offset))
	if err != nil {
		return 0
	}
	defer hint.Close()
	count, _ := segment.ReadHintCount(hint, size) // 0 with an error
	return int(min(int64(count), end.Offset/segment.RecordHeaderSize))
}

// Hint is an open hint.
type Hint struct {
	*segment.Table
	from io.Closer // what it is read from; nil: memory
}

// Close closes the hint. It must not be read afterwards.
func (h *Hint) Close() {
	if h.from != nil {
		_ = h.from.Close() // it was only read
	}
}
