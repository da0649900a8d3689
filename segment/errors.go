package segment

import (
	"errors"
	"fmt"
)

// What is wrong with bytes that were read. The caller knows the file and the offset, and adds
// them.
var (
	// ErrBounds: a length exceeds the remaining bytes.
	ErrBounds = errors.New("segment: the record reaches past the end")
	// ErrChecksum: the bytes are not the ones that were written here.
	ErrChecksum = errors.New("segment: the checksum does not match")
	// ErrBadRecord is what Scanner.Next returns where no record validates.
	ErrBadRecord = errors.New("segment: no valid record here")
	// ErrHeader: the header of a segment file is damaged.
	ErrHeader = errors.New("segment: the file header is damaged")
	// ErrHint: a hint is damaged, or belongs to another file.
	ErrHint = errors.New("segment: the hint is damaged")
	// ErrManifest: neither copy of the manifest is whole.
	ErrManifest = errors.New("segment: the manifest is damaged")
	// ErrVersion: the file has a version that this package does not know.
	ErrVersion = errors.New("segment: unknown format version")
)

// HintError says which part of a hint is damaged. errors.Is reports it as ErrHint.
type HintError struct {
	Place int64 // where the part begins in the hint's file
}

// Error states the place. It does not name the file: the caller does.
func (e *HintError) Error() string { return fmt.Sprintf("%v at %d", ErrHint, e.Place) }

// Is makes a HintError an ErrHint.
func (e *HintError) Is(target error) bool { return target == ErrHint }

// formatVersion is the version of segments; see hintVersion and manifestVersion.
const formatVersion = 1

// A manifest of the first version has no room for edits. It is still read.
const (
	manifestVersion      = 2
	firstManifestVersion = 1
)

// VersionError says which version a file has, and which version of that kind of file this package
// knows. errors.Is reports it as ErrVersion.
type VersionError struct {
	Version uint32 // in the file
	Known   uint32 // the version that this package writes
}

// Error states both versions. It does not name the file: the caller does.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%v %d, want %d", ErrVersion, e.Version, e.Known)
}

// Is makes a VersionError an ErrVersion.
func (e *VersionError) Is(target error) bool { return target == ErrVersion }

// checkVersion rejects every version except the known one. It runs before any other field is
// read, because another version may store the fields elsewhere.
func checkVersion(version, known uint32) error {
	if version != known {
		return &VersionError{version, known}
	}
	return nil
}
