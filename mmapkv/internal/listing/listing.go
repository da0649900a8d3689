// Package listing says what a manifest and the files of a directory say of each other:
// why there is no manifest, whether a file is the one that it names, and which files are
// newer.
package listing

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// WhyNoManifest says what is wrong with a directory that has no manifest and these
// files; "" when none of them has held data.
func WhyNoManifest(names []string) string {
	for _, name := range names {
		_, kind, ours := segment.ParseFileName(name)
		switch {
		case !ours || kind != segment.SegmentFile && kind != segment.HintFile:
		case Unfinished(names):
			return UnfinishedReason
		case kind == segment.HintFile:
			return "it is missing, but there are hints of segments, such as " + name
		default:
			return "it is missing, but there are segments, such as " + name
		}
	}
	return ""
}

// Inspect checks that a file is the one that the manifest means.
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

// UnfinishedManifest is what the manifest of a store is called that is not yet
// complete.
const UnfinishedManifest = segment.ManifestName + ".unfinished"

// UnfinishedReason is why a manifest is missing where there is an unfinished one.
const UnfinishedReason = "it is missing, since a salvage into this directory did not come to its end; " +
	"what that has read is as it was, and has more"

// Unfinished says whether a directory with these files is a new store that was not
// completed.
func Unfinished(names []string) bool {
	return slices.Contains(names, UnfinishedManifest) && !slices.Contains(names, segment.ManifestName)
}
