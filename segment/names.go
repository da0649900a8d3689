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
	partialInfix    = ".part" // and a number
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
	PartialFile                       // lists the keys of a range of one unsealed segment
)

// FileName is the name of a segment's file.
func FileName(id ID) string { return fmt.Sprintf("%0*x%s", idDigits, uint64(id), segmentSuffix) }

// HintName is the name of a segment's hint.
func HintName(id ID) string { return fmt.Sprintf("%0*x%s", idDigits, uint64(id), hintSuffix) }

// MaxPartials bounds the number of partial hints of one segment.
const MaxPartials = 256

// PartialName is the name of partial hint n of a segment, 0 <= n < MaxPartials.
func PartialName(id ID, n int) string {
	return fmt.Sprintf("%0*x%s%d", idDigits, uint64(id), partialInfix, n)
}

// ParsePartialName reports whether a name is that of a partial hint, and of which one.
func ParsePartialName(name string) (id ID, n int, ok bool) {
	digits, number, ok := strings.Cut(name, partialInfix)
	if !ok {
		return 0, 0, false
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= MaxPartials || strconv.Itoa(n) != number {
		return 0, 0, false
	}
	id, ok = parseID(digits)
	return id, n, ok
}

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
	if id, _, partial := ParsePartialName(name); partial {
		return id, PartialFile, true
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
	id, ok = parseID(digits)
	if !ok {
		return 0, 0, false
	}
	return id, kind, true
}

// parseID parses the digits of an ID as file names have them.
func parseID(digits string) (ID, bool) {
	n, err := strconv.ParseUint(digits, 16, 64)
	ok := err == nil && len(digits) == idDigits && strings.ToLower(digits) == digits && n != 0
	return ID(n), ok
}

// KindByContent recognizes the kind of a store's file by its first bytes.
func KindByContent(head []byte) (FileKind, bool) {
	for magic, kind := range map[string]FileKind{segmentMagic: SegmentFile, hintMagic: HintFile, partialMagic: PartialFile, manifestMagic: ManifestFile} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return kind, true
		}
	}
	return 0, false
}
