package segment

import (
	"errors"
	"fmt"
)

// What is wrong with bytes that were read. The caller knows the file and the
// offset, and adds them.
var (
	// ErrBounds: a length reaches past what there is.
	ErrBounds = errors.New("segment: the record reaches past the end")
	// ErrChecksum: the bytes are not what was written here.
	ErrChecksum = errors.New("segment: the checksum does not match")
	// ErrBadRecord is what Scanner.Next returns where no record validates.
	ErrBadRecord = errors.New("segment: no valid record here")
	// ErrHeader: the header of a segment file is damaged.
	ErrHeader = errors.New("segment: the file header is damaged")
	// ErrHint: a hint is damaged, or another file's.
	ErrHint = errors.New("segment: the hint is damaged")
	// ErrManifest: neither copy of the manifest is whole.
	ErrManifest = errors.New("segment: the manifest is damaged")
	// ErrVersion: the file is of a version that this package does not know.
	ErrVersion = errors.New("segment: unknown format version")
)

// formatVersion is the version of all three formats.
const formatVersion = 1

func versionError(version uint32) error {
	return fmt.Errorf("%w %d; the highest known is %d", ErrVersion, version, formatVersion)
}
