package segment

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Names of the files of a store.
const (
	ManifestName = "MANIFEST"
	LockName     = "LOCK"
	ReserveName  = "RESERVE"

	spareName       = "SPARE"
	segmentSuffix   = ".seg"
	hintSuffix      = ".hint"
	temporarySuffix = ".tmp"
	idDigits        = 16
)

// ID numbers the files of a store. It is never reused, and it says nothing about age: the order in
// the manifest does.
type ID uint64

// FileKind is the kind of a store's file.
type FileKind int

// The kinds of files.
const (
	SegmentFile   FileKind = iota + 1 // records
	HintFile                          // lists the keys of one segment
	ManifestFile                      // lists the segments
	LockFile                          // locked by whoever has the store open; its content means nothing
	ReserveFile                       // occupies room until that is needed
	TemporaryFile                     // being written, and not renamed yet, or left over from that
)

// FileName is the name of a segment's file.
func FileName(id ID) string { return fmt.Sprintf("%0*x%s", idDigits, uint64(id), segmentSuffix) }

// HintName is the name of a segment's hint.
func HintName(id ID) string { return fmt.Sprintf("%0*x%s", idDigits, uint64(id), hintSuffix) }

// SpareFiles is the number of empty spare files. A store removes one to make room for another file.
const SpareFiles = 2

// SpareName is the name of spare file i, 0 <= i < SpareFiles.
func SpareName(i int) string { return spareName + strconv.Itoa(i) }

// ParseFileName reports whether a store gives files this name, what kind of file it is then, and
// which segment it belongs to, if any.
func ParseFileName(name string) (id ID, kind FileKind, ok bool) {
	switch name {
	case ManifestName:
		return 0, ManifestFile, true
	case LockName:
		return 0, LockFile, true
	case ReserveName, SpareName(0), SpareName(1):
		return 0, ReserveFile, true
	}
	if base, temporary := strings.CutSuffix(name, temporarySuffix); temporary {
		id, kind, ok = ParseFileName(base)
		if !ok || kind == TemporaryFile {
			return 0, 0, false
		}
		return id, TemporaryFile, true
	}
	digits, isSegment := strings.CutSuffix(name, segmentSuffix)
	kind = SegmentFile
	if !isSegment {
		var isHint bool
		if digits, isHint = strings.CutSuffix(name, hintSuffix); !isHint {
			return 0, 0, false
		}
		kind = HintFile
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || len(digits) != idDigits || strings.ToLower(digits) != digits || n == 0 {
		return 0, 0, false
	}
	return ID(n), kind, true
}

// KindByContent recognizes the kind of a store's file by its first bytes.
func KindByContent(head []byte) (FileKind, bool) {
	for magic, kind := range map[string]FileKind{segmentMagic: SegmentFile, hintMagic: HintFile, manifestMagic: ManifestFile} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return kind, true
		}
	}
	return 0, false
}
