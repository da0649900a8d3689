package fsync

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// pieceSize is how many bytes Publish writes at once.
const pieceSize = 256 << 10

// temporarySuffix ends the name under which Publish writes a file aside.
const temporarySuffix = ".tmp"

// PublishError says how far Publish came.
type PublishError struct {
	// Name is the file that was to be published, Step what failed.
	Name, Step string
	// Tried means that the rename was tried: which content a later open finds
	// under the name is not known. Otherwise the old one is untouched.
	Tried bool
	// SyncFailed means that it was a sync that failed, of the file or of the
	// directory. It is not to be tried again.
	SyncFailed bool
	// Err is the cause.
	Err error
}

// Error names the file, the step that failed, and the cause.
func (e *PublishError) Error() string {
	return fmt.Sprintf("fsync: publishing %s: %s: %v", e.Name, e.Step, e.Err)
}

// Unwrap is the cause.
func (e *PublishError) Unwrap() error { return e.Err }

// Publish gives the file name the content, all or nothing, and durably when it
// returns nil: it writes a file aside (name + ".tmp"), syncs it, renames it, and
// syncs the directory. What an earlier attempt left aside is removed first. An
// error is a *PublishError; what this attempt wrote aside is removed again,
// unless the rename was tried. pause, if not nil, is called between two pieces of a
// long content that are written: it may block.
//
// One caller at a time publishes a name.
func Publish(dir vfs.Dir, name string, content []byte, pause func()) error {
	aside := name + temporarySuffix
	if err := dir.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &PublishError{Name: name, Step: "removing what was left aside", Err: err}
	}
	if failure := writeAside(dir, aside, content, pause); failure != nil {
		failure.Name = name
		return failure
	}
	if err := dir.Rename(aside, name); err != nil {
		return &PublishError{Name: name, Step: "renaming", Tried: true, Err: err}
	}
	if err := dir.Sync(); err != nil {
		return &PublishError{Name: name, Step: "syncing the directory", Tried: true, SyncFailed: true, Err: err}
	}
	return nil
}

// writeAside makes the file with the content and syncs it, or leaves nothing.
func writeAside(dir vfs.Dir, aside string, content []byte, pause func()) (failure *PublishError) {
	f, err := dir.Create(aside)
	if err != nil {
		return &PublishError{Step: "creating " + aside, Err: err}
	}
	defer func() {
		if err := f.Close(); err != nil && failure == nil {
			failure = &PublishError{Step: "closing " + aside, Err: err}
		}
		if failure != nil {
			// A file that stays costs its room until the next attempt or the
			// next open removes it; the error that counts is the first one.
			_ = dir.Remove(aside)
		}
	}()
	written := 0
	for piece := range slices.Chunk(content, pieceSize) {
		if written > 0 {
			vfs.Flush(f, int64(written-pieceSize), pieceSize)
			if pause != nil {
				pause()
			}
		}
		n, err := vfs.WriteFull(f, piece, int64(written))
		if err != nil {
			return &PublishError{Step: "writing " + aside, Err: err}
		}
		written += n
	}
	if err := f.Datasync(); err != nil {
		return &PublishError{Step: "syncing " + aside, SyncFailed: true, Err: err}
	}
	return nil
}
