// Package patient reads what can be read of a file that the disk refuses to read in full.
//
// What must hold:
//
//   - Zeros stand for what the disk refuses, since they never validate. The rest is read.
//   - A file that is longer than the store ever makes it is not opened.
package patient

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// ErrTooLong means that a file is longer than the store ever makes it.
var ErrTooLong = errors.New("mmapkv: a file is too long")

// OpenBounded opens a file for reading and returns its size, or ErrTooLong if that exceeds max
// bytes. Such a file is damaged. It may have holes, and need more memory than it takes on the disk.
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

// Reader reads a file, and reads on past what the disk refuses. One goroutine at a time uses it.
type Reader struct {
	vfs.File
	Before   func(bytes int64) error // called before each read; its error ends the read
	Reached  func(offset int64)      // told how far the file was read; may be nil
	AnyError bool                    // forgive every error of a read, not only I/O errors

	Refused     error // why the disk first refused to read; nil if it has not
	RefusedFrom int64 // the offset of the first refused piece, in bytes
	refusedTo   int64 // the end of the last one
}

// refusedPiece is the size in bytes of the pieces in which a refused range is read again.
const refusedPiece = 4 << 10

// ReadAt implements io.ReaderAt. If the disk refuses to read a piece of p, ReadAt fills it with
// zeros.
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

// forgives reports whether zeros stand for what a read with this error did not return.
func (r *Reader) forgives(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && (r.AnyError || errors.Is(err, errno.EIO))
}

// readPieces reads piece by piece, with zeros for those that are refused.
func (r *Reader) readPieces(p []byte, offset int64) (n int, err error) {
	whole := p
	if r.AnyError { // any of them may hide the end of the file
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
	return r.read(min(size, max))
}

// Whole reads a file of at most max bytes. It reads nothing of a longer one, and returns
// ErrTooLong.
func (r *Reader) Whole(max int64) ([]byte, error) {
	size, err := r.Size()
	if err != nil {
		return nil, err
	}
	if size > max {
		return nil, ErrTooLong
	}
	return r.read(size)
}

func (r *Reader) read(size int64) ([]byte, error) {
	content := make([]byte, size)
	n, err := r.ReadAt(content, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return content[:n], err
}

// Why returns why the size bytes at offset do not validate: because the disk refused to read there,
// or else for the reason given as otherwise.
func (r *Reader) Why(offset, size int64, otherwise string) string {
	if r.Refused == nil || offset >= r.refusedTo || offset+size <= r.RefusedFrom {
		return otherwise
	}
	return r.Refused.Error()
}
