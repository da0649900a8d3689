package listing

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// A stray is a file that has a name of ours and that the manifest does not list. It is one of two
// things. Either it is a leftover: a crash came between creating a file and listing it, or between
// delisting a file and unlinking it. Or it is newer than the manifest, because somebody has
// replaced MANIFEST by an older copy, and then it holds acknowledged data. Open removes leftovers,
// and must never remove newer data.
//
// An older manifest can also make Open miss data after the end that a clean close wrote down: the
// log may have gone on there.
//
// Open, Verify and Salvage all call FindNewer, which reads. FindNewer asks IsNewer, which decides.
// IsNewer relies on what the writing side does:
//
//   - A file is in a durable manifest before its first record. A manifest knows all numbers
//     (LastSeq) and ids (NextID) that were given before it. So a file that was listed later than
//     the manifest only has records after LastSeq.
//   - The manifest that seals a file knows the file's last number (SealedSeq), and a compaction
//     merges only sealed files. So a leftover of a compaction, finished or not, has no record after
//     SealedSeq.
//   - The manifest that delists a file knows all of its records and its id.
//   - Recovery copies records from unsealed files to new ones. A power cut during that can leave
//     the copies without the originals. So recovery first commits a manifest that knows the numbers
//     of the copies and the ids of the files to come: see announceCopies in package recovery.
//     Without the ids, the copies would be taken for leftovers if the manifest from just before the
//     recovery were put back. That still happens if the manifest put back is the very one that
//     recovery commits first, which is current for a moment during Open, and nothing else was
//     written after it.

// IsNewer reports whether a record was written under a newer manifest than m. The record is in a
// file with header h that m does not list, or after the end that m gives. seq is its sequence
// number, 0 if there is no record. A merged file is judged as a whole, by its header.
func IsNewer(m *segment.Manifest, h segment.Header, seq uint64) bool {
	given := h.ID < m.NextID // the manifest knows of a file with this id
	if h.Kind == segment.Merged {
		return !given && !sealsAll(m, h.Replaces)
	}
	return seq > m.SealedSeq && !(given && seq <= m.LastSeq)
}

// sealsAll reports whether a manifest lists all these files as sealed, so that a compaction may
// have merged them under this manifest.
func sealsAll(m *segment.Manifest, ids []segment.ID) bool {
	sealed := make(map[segment.ID]bool, len(m.Segments))
	for _, info := range m.Segments {
		sealed[info.ID] = info.Sealed
	}
	return !slices.ContainsFunc(ids, func(id segment.ID) bool { return !sealed[id] })
}

// Newer is a file that holds data which the manifest does not know, or may hold some.
type Newer struct {
	Name   string // of the file in the store's directory
	Offset int64  // of the first unknown record, in bytes; in a merged file, of its first record
	Unread error  // why the disk cannot read the file, so that nobody knows what it holds; nil if read
	seq    uint64 // of the first unknown record; 0: the whole file was merged from unknown ones
}

// Why returns what is wrong with the file being there.
func (n Newer) Why(m *segment.Manifest) string {
	switch {
	case n.Unread != nil:
		return fmt.Sprintf("it cannot be read, and may be newer than %s: %v", segment.ManifestName, n.Unread)
	case n.seq == 0:
		return fmt.Sprintf("it is newer than %s: it was merged from files that %[1]s does not name", segment.ManifestName)
	}
	return fmt.Sprintf("record %d is newer than %s, which knows of records up to %d", n.seq, segment.ManifestName, m.LastSeq)
}

// Opener opens the named file for reading.
type Opener func(name string) (vfs.File, error)

// FindNewer returns those of the named files that hold data which the manifest does not know, and
// those that cannot be read, since nobody knows what they hold. A file that is not regular, such as
// a pipe, holds no data. The error wraps failure.ErrVersion for a file of an unknown version;
// otherwise it is that of open or of the system.
func FindNewer(open Opener, names []string, m *segment.Manifest) (newer []Newer, err error) {
	listed := map[string]bool{}
	for _, info := range m.Segments {
		listed[segment.FileName(info.ID)] = true
	}
	for _, name := range names {
		id, kind, ours := segment.ParseFileName(name)
		if !ours || kind != segment.SegmentFile || listed[name] {
			continue
		}
		found, err := lookAt(open, name, func(f vfs.File, size int64) (Newer, error) { return judgeStray(f, size, id, m) })
		if err != nil {
			return nil, err
		}
		newer = append(newer, found...)
	}
	n := len(m.Segments)
	if !m.Clean || n == 0 || m.Segments[n-1].Sealed {
		return newer, nil
	}
	tail := m.Segments[n-1]
	found, err := lookAt(open, segment.FileName(tail.ID), func(f vfs.File, size int64) (Newer, error) {
		h := segment.Header{ID: tail.ID, Salt: tail.Salt, Kind: tail.Kind}
		return judgeRecords(f, h, tail.End.Offset, size, m)
	})
	return append(newer, found...), err
}

// errKnown means that the manifest knows all that a file holds.
var errKnown = errors.New("mmapkv: nothing newer")

// lookAt opens a file and passes it to judge.
func lookAt(open Opener, name string, judge func(f vfs.File, size int64) (Newer, error)) (found []Newer, err error) {
	f, err := open(name)
	if err != nil {
		if isNoFile(err) {
			return nil, nil
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	n, err := judge(f, size)
	switch {
	case errors.Is(err, errKnown):
		return nil, nil
	case errors.Is(err, segment.ErrVersion):
		return nil, fmt.Errorf("%w: %s: %w", failure.ErrVersion, name, err)
	case errors.Is(err, errno.EIO):
		return []Newer{{Name: name, Unread: err}}, nil
	case err != nil:
		return nil, err
	}
	n.Name = name
	return []Newer{n}, nil
}

// isNoFile reports whether an error of an Opener means that there is no regular file: it is gone,
// or it was opened and turned out to be something else, which is an fs.PathError without a system
// error. An error that does not come from opening, such as a cancellation, does not mean that.
func isNoFile(err error) bool {
	var number errno.Errno
	var opening *fs.PathError
	return errors.Is(err, fs.ErrNotExist) || errors.As(err, &opening) && !errors.As(err, &number)
}

// judgeStray judges a file that the manifest does not list. Its name has the given id. The error is
// errKnown if the manifest knows all that the file holds.
func judgeStray(f vfs.File, size int64, id segment.ID, m *segment.Manifest) (Newer, error) {
	h, err := segment.ReadHeader(f, size)
	if errors.Is(err, segment.ErrHeader) {
		h = segment.Header{ID: id, Kind: segment.Log}
		h.Salt, err = segment.GuessSalt(f)
	}
	if errors.Is(err, segment.ErrHeader) {
		return Newer{}, errKnown // it is shorter than a header
	}
	if err != nil {
		return Newer{}, err
	}
	if slices.ContainsFunc(m.Segments, func(info segment.SegmentInfo) bool { return info.Salt == h.Salt }) {
		// These are blocks of a listed file: after a power cut they can be in a file that was
		// created and never synced. The listed file is judged by itself.
		return Newer{}, errKnown
	}
	if h.Kind == segment.Log {
		return judgeRecords(f, h, h.Size(), size, m)
	}
	if !IsNewer(m, h, 0) {
		return Newer{}, errKnown
	}
	return Newer{Offset: h.Size()}, nil
}

// judgeRecords judges the records of a file of the log, from an offset on. The first record
// decides, except in a copy that recovery made: after the announced records the log may have gone
// on.
func judgeRecords(f vfs.File, h segment.Header, from, size int64, m *segment.Manifest) (n Newer, err error) {
	n.Offset, n.seq, err = firstRecord(f, h.Salt, from, size)
	w := segment.NewWalker(f, h.Salt, n.Offset, size)
	for err == nil && !IsNewer(m, h, n.seq) {
		if n.seq <= m.SealedSeq {
			return n, errKnown
		}
		var r segment.Record
		n.Offset = w.Offset()
		err = w.Next(&r)
		n.seq = r.Seq
	}
	if err == io.EOF || errors.Is(err, segment.ErrBounds) || errors.Is(err, segment.ErrChecksum) {
		err = errKnown
	}
	return n, err
}

// FirstRecords is the number of bytes that are searched for a whole record if there is none where
// the first one should be.
const FirstRecords = 1 << 20

// firstRecord finds the first record from an offset on; seq is 0 if there is none. It does not read
// long values: a leftover may have gigabytes.
func firstRecord(f vfs.File, salt uint64, from, size int64) (offset int64, seq uint64, err error) {
	var r segment.Record
	err = segment.NewWalker(f, salt, from, size).Next(&r)
	if err == nil {
		return from, r.Seq, nil
	}
	if !errors.Is(err, segment.ErrBounds) && !errors.Is(err, segment.ErrChecksum) {
		return from, 0, ignoreEOF(err)
	}
	e, err := segment.NewScanner(f, salt, from, min(size, from+FirstRecords)).Resync(1)
	return cmp.Or(e.Offset, from), e.Seq, ignoreEOF(err)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// RefuseNewer returns an error if a file holds data which the manifest does not know, or may hold
// some. That error wraps failure.ErrCorrupt; the others are those of FindNewer. Open calls it
// before it changes anything.
func RefuseNewer(open Opener, names []string, m *segment.Manifest) error {
	newer, err := FindNewer(open, names, m)
	if err != nil {
		return err
	}
	known := slices.DeleteFunc(slices.Clone(newer), func(n Newer) bool { return n.Unread != nil })
	switch {
	case len(known) > 0:
		return failure.Refused(failure.Damage{File: segment.ManifestName, Reason: OlderManifest(known, m)})
	case len(newer) > 0:
		return failure.Refused(failure.Damage{File: newer[0].Name, Reason: newer[0].Why(m)})
	}
	return nil
}

// MostNamed is the largest number of files that an error names.
const MostNamed = 10

// OlderManifest returns the reason for refusing a manifest that does not know these files.
func OlderManifest(newer []Newer, m *segment.Manifest) string {
	reason := fmt.Sprintf("it is older than other files, as if it had been restored from a copy: it knows of records up to %d, and there are newer ones in", m.LastSeq)
	for i, n := range newer {
		if i == MostNamed {
			return fmt.Sprintf("%s and %d more", reason, len(newer)-i)
		}
		separator := ", "
		if i == 0 {
			separator = " "
		}
		reason += separator + n.Name
	}
	return reason
}
