package salvage

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// open opens a file of the damaged store. Reads of it fail once the context has ended.
func (s *salvage) open(name string) (*patient.Reader, error) {
	f, err := s.dir.OpenReadOnly(name)
	if err != nil {
		return nil, err
	}
	return &patient.Reader{File: f, Before: func(int64) error { return s.ctx.Err() }, AnyError: true}, nil
}

// content reads a small file, and fails if that has more than max bytes.
func (s *salvage) content(name string, max int64) ([]byte, error) {
	f, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Whole(max)
}

// refusesUs says whether an error is the fault of neither disk nor store, so that the user
// can do something about it.
func refusesUs(err error) bool {
	for _, one := range []error{context.Canceled, context.DeadlineExceeded, fs.ErrPermission, errno.EMFILE, errno.ENFILE, errno.ENOMEM} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// readHint reads the hint of a source, if its header and directory are whole: then it was
// finished, and the parts that are whole count. A hint that is too long for a segment of this
// size has holes, and is left alone. If a segment was cut, the manifest knows its size. A hint that
// the system refuses to read ends the salvage: only it may know that a key was deleted.
func (s *salvage) readHint(in *source) error {
	content, err := s.content(segment.HintName(in.id), segment.MaxHintSize(max(in.size, in.end)))
	if refusesUs(err) {
		return err
	}
	if err == nil {
		in.hint, _ = segment.OpenTableIn(content, in.id, in.salt, nil)
	}
	return nil
}

// load reads a record that scan has found.
func (in *source) load(f io.ReaderAt, r *segment.Record, buffer []byte, offset int64) ([]byte, error) {
	limit := min(in.end, in.size)
	size, err := segment.ReadRecordSize(f, offset, limit)
	if err != nil {
		return buffer, err
	}
	if int64(cap(buffer)) < size {
		buffer = make([]byte, size)
	}
	buffer = buffer[:size]
	if n, err := f.ReadAt(buffer, offset); n < len(buffer) {
		return buffer, cmp.Or(err, error(segment.ErrBounds))
	}
	if err := segment.Decode(r, buffer, in.salt, offset); err != nil {
		return buffer, err
	}
	if !r.ValueOK() {
		return buffer, segment.ErrChecksum
	}
	return buffer, nil
}
