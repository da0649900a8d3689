// Package hints opens, rebuilds and publishes hints: for each segment, the keys of its
// records and where they lie.
//
// What must hold: a hint is used only if it is whole and covers exactly what counts of its
// segment. A lost or damaged hint costs time, never a key: it is rebuilt from the records.
package hints

import (
	"bytes"
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

// New makes the room of a catalog.
func New(c *catalog.Catalog) Hints { return Hints{c} }

// Hint is a hint with what it is read from.
type Hint struct {
	*segment.HintReader
	from io.Closer // nil: memory
}

// Close says that the hint is not read any more.
func (h *Hint) Close() {
	if h.from != nil {
		_ = h.from.Close() // it was only read
	}
}

// Open opens the hint of a file, if it is whole and covers just what counts.
// pause is as segment.OpenHint has it.
func (h *Hints) Open(f *catalog.File, pause func()) (*Hint, error) {
	from, size, err := patient.OpenBounded(h.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(f.End.Offset))
	if err != nil {
		return nil, err
	}
	hint, err := segment.OpenHint(from, size, f.ID, f.Salt, pause)
	if err == nil && hint.Covers != f.End {
		err = fmt.Errorf("mmapkv: the hint covers %d bytes of %d", hint.Covers.Offset, f.End.Offset)
	}
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	f.HintBytes.Store(hint.Size())
	return &Hint{hint, from}, nil
}

// Rebuild makes the hint from the records themselves, checking each of them,
// and writes it down for the next time. pause is as segment.BuildHint has it.
func (h *Hints) Rebuild(f *catalog.File, pause func()) (*Hint, error) {
	builder := f.Built
	if f.Built = nil; builder == nil {
		var err error
		if builder, err = h.build(f, f.End, pause); err != nil {
			return nil, err
		}
	}
	content := builder.Encode(f.ID, f.Salt, f.End, f.End.Seq)
	if !h.catalog.ReadOnly && f.Active == nil {
		size, err := h.publishContent(f.ID, content, pause)
		if err != nil {
			return nil, err
		}
		f.HintBytes.Store(size)
	}
	hint, err := segment.OpenHint(bytes.NewReader(content), int64(len(content)), f.ID, f.Salt, pause)
	return &Hint{HintReader: hint}, err
}

// build makes the hint of a file that ends at end from its records. What cannot
// be read any more may stand in the hint that the file has, from a Close for
// instance: otherwise an older value would come back.
func (h *Hints) build(f *catalog.File, end segment.End, pause func()) (*segment.HintBuilder, error) {
	hint, err := segment.BuildHint(f.Handle(), f.Salt, f.DataStart, end.Offset, pause)
	if err != nil || !hint.Damaged() {
		return hint, err
	}
	file, size, err := patient.OpenBounded(h.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(end.Offset))
	if errno.Scarce(err) {
		return nil, err // what it knows would be gone for good
	}
	if err != nil {
		return hint, nil
	}
	defer file.Close()
	if older, err := segment.OpenHint(file, size, f.ID, f.Salt, pause); err == nil {
		_ = hint.AddLost(older, end.Offset) // all that can be read of it
	}
	return hint, nil
}

// Write publishes the hint of a file that ends at end. A hint that does not
// fit on the disk is left out: it costs time at the next Open, nothing else.
func (h *Hints) Write(f *catalog.File, end segment.End, pause func()) error {
	hint, err := h.build(f, end, pause)
	if err != nil {
		h.catalog.Message(slog.LevelWarn, "mmapkv: a segment could not be read for its hint", "file", segment.FileName(f.ID), "error", err)
		return nil
	}
	return h.Publish(f, hint, end, pause)
}

// Publish gives a file that ends at end the hint that was built of its records.
func (h *Hints) Publish(f *catalog.File, hint *segment.HintBuilder, end segment.End, pause func()) error {
	size, err := h.publishContent(f.ID, hint.Encode(f.ID, f.Salt, end, h.catalog.Syncer.Durable()), pause)
	f.HintBytes.Store(size)
	return err
}

// publishContent gives a file its hint and returns what the entries take, 0 when the
// hint was left out.
func (h *Hints) publishContent(id segment.ID, content []byte, pause func()) (size int64, err error) {
	if err = fsync.Publish(h.catalog.Dir, segment.HintName(id), content, pause); err == nil {
		return segment.HintSize(content), nil
	}
	if err := h.catalog.Latch.WriteError(err); errors.Is(err, failure.ErrFailed) {
		return 0, err
	}
	h.catalog.Message(slog.LevelWarn, "mmapkv: a hint could not be written", "file", segment.HintName(id), "error", err)
	return 0, nil
}

// With calls use with a sealed file's hint. If that cannot be read, or not to its
// end, use is called again, with a hint that was made anew of the records.
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

// Count is how many keys a file's hint says that it has; 0 where that is not to
// be had.
func (h *Hints) Count(f *catalog.File) int {
	hint, size, err := patient.OpenBounded(h.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(f.End.Offset))
	if err != nil {
		return 0
	}
	defer hint.Close()
	count, _ := segment.ReadHintCount(hint, size) // 0 with an error
	return int(min(int64(count), f.End.Offset/segment.RecordHeaderSize))
}
