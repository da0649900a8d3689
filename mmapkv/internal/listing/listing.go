// Package listing says whether a manifest and the files beside it belong together: why a manifest
// is missing, whether a file is the one that the manifest lists, and which files are newer than it.
//
// What must hold:
//
//   - A file with acknowledged data that the manifest does not know is never taken for a leftover
//     of a crash: strays.go names the one exception. So a store whose manifest was replaced by an
//     older copy is not opened.
//   - A leftover of a crash is never taken for newer data.
//   - Nothing here changes a file.
package listing

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// WhyNoManifest returns what is wrong with a directory that has these files and no manifest, or ""
// if none of them can have held data.
func WhyNoManifest(names []string) string {
	for _, name := range names {
		_, kind, ours := segment.ParseFileName(name)
		switch {
		case !ours || kind != segment.SegmentFile && kind != segment.HintFile && kind != segment.PartialFile:
		case Unfinished(names):
			return UnfinishedReason
		case kind != segment.SegmentFile:
			return "it is missing, but there are hints, such as " + name
		default:
			return "it is missing, but there are segments, such as " + name
		}
	}
	return ""
}

// Inspect checks that an open file is the one that the manifest lists, and returns its size in
// bytes and its header. The error is patient.ErrTooLong, one of segment.ReadHeader, or says that
// the header is that of another file.
func Inspect(handle vfs.File, info segment.SegmentInfo) (size int64, header segment.Header, err error) {
	if size, err = handle.Size(); err != nil {
		return 0, header, err
	}
	if size > segment.MaxFileSize {
		return 0, header, fmt.Errorf("%w: it has %d bytes", patient.ErrTooLong, size)
	}
	if header, err = segment.ReadHeader(handle, size); err != nil {
		return 0, header, err
	}
	if header.ID != info.ID || header.Salt != info.Salt || header.Kind != info.Kind {
		return 0, header, errors.New("its header is that of another file")
	}
	return size, header, nil
}

// UnfinishedManifest is the name of the manifest of a store that is not yet complete.
const UnfinishedManifest = segment.ManifestName + ".unfinished"

// UnfinishedReason says why the manifest is missing if there is an unfinished one.
const UnfinishedReason = "it is missing because a salvage into this directory did not finish; " +
	"the store that it read is unchanged, and holds more"

// Unfinished reports whether a directory with these files is a new store that was not completed.
func Unfinished(names []string) bool {
	return slices.Contains(names, UnfinishedManifest) && !slices.Contains(names, segment.ManifestName)
}

// MissingReason is what is wrong with a segment that the manifest names and the directory lacks.
const MissingReason = "the manifest names it, and it is missing"
