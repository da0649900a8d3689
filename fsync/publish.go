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

// temporarySuffix ends the name of the file that Publish writes aside.
const temporarySuffix = ".tmp"

// PublishError says how far Publish got.
type PublishError struct {
	// Name is the file to publish, Step the step that failed.
	Name, Step string
	// Tried means that the rename was tried: a later open may find the old or the
	// new content under the name. Otherwise the old content is untouched.
	Tried bool
	// SyncFailed means that a sync failed, of the file or of the directory. It
	// must not be retried.
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

// Publish replaces the content of the file name, all or nothing. The new content is
// durable when Publish returns nil. It writes a file aside (name + ".tmp"), syncs it,
// renames it, and syncs the directory. It first removes what an earlier attempt left
// aside. An error is a *PublishError; Publish then removes the file that it wrote
// aside, unless it tried the rename. It calls pause, if not nil, between two pieces
// of a long content; pause may block.
//
// Only one caller at a time may publish a name.
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

// writeAside creates the file with the content and syncs it, or removes it.
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
			// A file that cannot be removed takes up space until the next attempt
			// or the next open removes it; the first error is the one to report.
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
