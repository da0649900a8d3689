// Package patient reads files of which the disk refuses a part.
//
// What must hold: zeros stand for what the disk refuses, since they never validate; the
// rest is read; and no file is read that is longer than the store ever makes it.
package patient

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// OpenBounded opens a file to read, unless it is longer than max: a longer one is
// damaged, may have holes, and want more memory than it takes on the disk.
func OpenBounded(dir vfs.Dir, name string, max int64) (f vfs.File, size int64, err error) {
	if f, err = dir.OpenReadOnly(name); err != nil {
		return nil, 0, err
	}
	if size, err = f.Size(); err == nil && size > max {
		err = fmt.Errorf("%w: %s has %d bytes, and never more than %d", ErrTooLong, name, size, max)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

var ErrTooLong = errors.New("mmapkv: a file is too long")

// Reader reads a file, and goes on after what the disk refuses to read.
type Reader struct {
	vfs.File
	Before   func(bytes int64) error // called before each read, which ends with its error
	Reached  func(offset int64)      // told how far the file was read; may be nil
	AnyError bool                    // forgive every error of a read, not only I/O errors

	Refused                error // what the disk said when it first refused
	RefusedFrom, refusedTo int64 // around where it did
}

// refusedPiece is the unit in which a refused range is narrowed down, in bytes.
const refusedPiece = 4 << 10

// ReadAt reads as io.ReaderAt does.
func (r *Reader) ReadAt(p []byte, offset int64) (n int, err error) {
	if err := r.Before(int64(len(p))); err != nil {
		return 0, err
	}
	n, err = r.File.ReadAt(p, offset)
	if r.forgives(err) {
		n, err = r.readPieces(p, offset)
	}
	if r.Reached != nil {
		r.Reached(offset + int64(n))
	}
	return n, err
}

func (r *Reader) forgives(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && (r.AnyError || errors.Is(err, errno.EIO))
}

func (r *Reader) readPieces(p []byte, offset int64) (n int, err error) {
	whole := p
	if r.AnyError { // one of which may hide where the file ends
		size, err := r.Size()
		if err != nil {
			return 0, err
		}
		p = p[:max(min(int64(len(p)), size-offset), 0)]
	}
	for n < len(p) && err == nil {
		at := offset + int64(n)
		piece := p[n:min(n+int(refusedPiece-at%refusedPiece), len(p))]
		var got int
		got, err = r.File.ReadAt(piece, at)
		if r.forgives(err) {
			if r.Refused == nil {
				r.RefusedFrom = at
			}
			r.Refused, r.refusedTo = cmp.Or(r.Refused, err), at+int64(len(piece))
			clear(piece[got:])
			got, err = len(piece), nil
		}
		n += got
	}
	if err == nil && n < len(whole) {
		err = io.EOF
	}
	return n, err
}

// Content reads a file, but not more than max bytes of it.
func (r *Reader) Content(max int64) ([]byte, error) {
	size, err := r.Size()
	if err != nil {
		return nil, err
	}
	content := make([]byte, min(size, max))
	n, err := r.ReadAt(content, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return content[:n], err
}

// Why is the reason for what does not validate: what the disk said, if it refused to
// read there, or what is wrong otherwise.
func (r *Reader) Why(offset, size int64, otherwise string) string {
	if r.Refused == nil || offset >= r.refusedTo || offset+size <= r.RefusedFrom {
		return otherwise
	}
	return r.Refused.Error()
}
