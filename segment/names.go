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

// ID numbers the files of a store. It is never reused and says nothing of age:
// that is the manifest's order.
type ID uint64

// FileKind is what a file of a store is by its name.
type FileKind int

const (
	SegmentFile FileKind = iota + 1
	HintFile
	ManifestFile
	LockFile
	ReserveFile   // what takes room until it is needed
	TemporaryFile // written aside, not yet or never renamed
)

// FileName is the name of a segment's file.
func FileName(id ID) string { return fmt.Sprintf("%0*x%s", idDigits, uint64(id), segmentSuffix) }

// HintName is the name of a segment's hint.
func HintName(id ID) string { return fmt.Sprintf("%0*x%s", idDigits, uint64(id), hintSuffix) }

// SpareFiles is how many empty files there are, each to give way to another one.
const SpareFiles = 2

// SpareName is the name of an empty file, of those from 0 up to SpareFiles.
func SpareName(i int) string { return spareName + strconv.Itoa(i) }

// ParseFileName tells whether a name is one that a store gives, what the file is
// then, and which segment it belongs to, if any.
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

// KindByContent tells what a file of a store is by how it begins.
func KindByContent(head []byte) (FileKind, bool) {
	for magic, kind := range map[string]FileKind{segmentMagic: SegmentFile, hintMagic: HintFile, manifestMagic: ManifestFile} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return kind, true
		}
	}
	return 0, false
}
