package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// A hint is opened, made anew from the records where it is of no use, and published.

// fileHint is a hint with what it is read from.
type fileHint struct {
	*segment.HintReader
	from io.Closer // nil: memory
}

// Close says that the hint is not read any more.
func (h *fileHint) Close() {
	if h.from != nil {
		_ = h.from.Close() // it was only read
	}
}

// openHint opens the hint of a file, if it is whole and covers just what counts.
// pause is as segment.OpenHint has it.
func (s *Store) openHint(f *catalog.File, pause func()) (*fileHint, error) {
	from, size, err := patient.OpenBounded(s.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(f.End.Offset))
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
	return &fileHint{hint, from}, nil
}

// rebuildHint makes the hint from the records themselves, checking each of them,
// and writes it down for the next time. pause is as segment.BuildHint has it.
func (s *Store) rebuildHint(f *catalog.File, pause func()) (*fileHint, error) {
	builder := f.Built
	if f.Built = nil; builder == nil {
		var err error
		if builder, err = s.buildHint(f, f.End, pause); err != nil {
			return nil, err
		}
	}
	content := builder.Encode(f.ID, f.Salt, f.End, f.End.Seq)
	if !s.options.ReadOnly && f.Active == nil {
		size, err := s.publishHint(f.ID, content, pause)
		if err != nil {
			return nil, err
		}
		f.HintBytes.Store(size)
	}
	hint, err := segment.OpenHint(bytes.NewReader(content), int64(len(content)), f.ID, f.Salt, pause)
	return &fileHint{HintReader: hint}, err
}

// buildHint makes the hint of a file that ends at end from its records. What cannot
// be read any more may stand in the hint that the file has, from a Close for
// instance: otherwise an older value would come back.
func (s *Store) buildHint(f *catalog.File, end segment.End, pause func()) (*segment.HintBuilder, error) {
	hint, err := segment.BuildHint(f.Handle(), f.Salt, f.DataStart, end.Offset, pause)
	if err != nil || !hint.Damaged() {
		return hint, err
	}
	file, size, err := patient.OpenBounded(s.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(end.Offset))
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

// writeHint publishes the hint of a file that ends at end. A hint that does not
// fit on the disk is left out: it costs time at the next Open, nothing else.
func (s *Store) writeHint(f *catalog.File, end segment.End) error {
	hint, err := s.buildHint(f, end, s.sealing.Pause)
	if err != nil {
		s.events.message(slog.LevelWarn, "mmapkv: a segment could not be read for its hint", "file", segment.FileName(f.ID), "error", err)
		return nil
	}
	return s.publishBuilt(f, hint, end)
}

// publishBuilt gives a file that ends at end the hint that was built of its records.
func (s *Store) publishBuilt(f *catalog.File, hint *segment.HintBuilder, end segment.End) error {
	size, err := s.publishHint(f.ID, hint.Encode(f.ID, f.Salt, end, s.syncer.Durable()), s.sealing.Pause)
	f.HintBytes.Store(size)
	return err
}

// publishHint gives a file its hint and returns what the entries take, 0 when the
// hint was left out.
func (s *Store) publishHint(id segment.ID, content []byte, pause func()) (size int64, err error) {
	if err = fsync.Publish(s.catalog.Dir, segment.HintName(id), content, pause); err == nil {
		return segment.HintSize(content), nil
	}
	if err := s.latch.WriteError(err); errors.Is(err, ErrFailed) {
		return 0, err
	}
	s.events.message(slog.LevelWarn, "mmapkv: a hint could not be written", "file", segment.HintName(id), "error", err)
	return 0, nil
}

// withHint calls use with a sealed file's hint. If that cannot be read, or not to its
// end, use is called again, with a hint that was made anew of the records.
func (s *Store) withHint(f *catalog.File, pause func(), use func(*fileHint) error) error {
	hint, err := s.openHint(f, pause)
	if err == nil {
		err = use(hint)
		hint.Close()
	}
	if err == nil || errno.Scarce(err) {
		return err
	}
	if hint, err = s.rebuildHint(f, pause); err != nil {
		return fmt.Errorf("mmapkv: the hint of %s: %w", segment.FileName(f.ID), err)
	}
	return use(hint)
}

// hintCount is how many keys a file's hint says that it has; 0 where that is not to
// be had.
func (s *Store) hintCount(f *catalog.File) int {
	hint, size, err := patient.OpenBounded(s.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(f.End.Offset))
	if err != nil {
		return 0
	}
	defer hint.Close()
	count, _ := segment.ReadHintCount(hint, size) // 0 with an error
	return int(min(int64(count), f.End.Offset/segment.RecordHeaderSize))
}
