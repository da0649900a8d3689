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

// A file of our naming pattern that the manifest does not name is one of two things.
// It is a leftover: a crash came between making a file and listing it, or between
// delisting a file and unlinking it. Or it is newer than the manifest, because
// somebody has put back an older one, and then it holds acknowledged data. Open
// removes leftovers; what must hold is that it never removes newer data. The other
// place where an older manifest has Open pass over data is behind the end that a
// clean close has noted: there the log may have gone on.
//
// Open, Verify and Salvage all ask findNewer, which reads, and that asks isNewer,
// which decides. It relies on what the writing side does:
//
//   - A file is in a durable manifest before its first record, and a manifest knows
//     of every number (LastSeq) and every id (NextID) that was given before it. So
//     where an older manifest was put back, a file that was listed later has only
//     records beyond LastSeq.
//   - A manifest that seals a file knows its last number (SealedSeq), and a
//     compaction merges only files that are sealed. So what is left of a compaction,
//     finished or not, has no record beyond SealedSeq.
//   - A manifest that takes a file out knows all of its records and its id.
//   - Recovery copies records from unsealed files to new ones, and a power cut in its
//     midst can leave the copies without what they were copied from. So it first
//     commits a manifest that knows their numbers and the ids of the files to come:
//     see announceCopies. Without the ids, the manifest from just before a recovery
//     could be put back, and the copies would be taken for leftovers. (So they are if
//     that very manifest, which is the current one for a moment within Open, is put back
//     before anything else was written.)

// IsNewer says whether a file that a manifest does not name, or a record in it, was
// written under a newer one. seq is the number of the record, 0 if there is none; of a
// merged file the header tells.
func IsNewer(m *segment.Manifest, h segment.Header, seq uint64) bool {
	given := h.ID < m.NextID // the manifest knows that there was such a file
	if h.Kind == segment.Merged {
		return !given && !sealsAll(m, h.Replaces)
	}
	return seq > m.SealedSeq && !(given && seq <= m.LastSeq)
}

// sealsAll says whether a manifest names all these files as sealed: a compaction that
// was at work under this manifest may have merged them.
func sealsAll(m *segment.Manifest, ids []segment.ID) bool {
	sealed := make(map[segment.ID]bool, len(m.Segments))
	for _, info := range m.Segments {
		sealed[info.ID] = info.Sealed
	}
	return !slices.ContainsFunc(ids, func(id segment.ID) bool { return !sealed[id] })
}

// Newer is a file with data that the manifest does not know.
type Newer struct {
	Name   string
	Offset int64  // of the first record that is not known, or of the records
	seq    uint64 // of that record; 0: the whole file is merged of unknown ones
	Unread error  // the disk does not say what is in it
}

// Why says what is wrong with the file's being there.
func (n Newer) Why(m *segment.Manifest) string {
	switch {
	case n.Unread != nil:
		return fmt.Sprintf("it cannot be read, and may be newer than %s: %v", segment.ManifestName, n.Unread)
	case n.seq == 0:
		return fmt.Sprintf("it is newer than %s: it was merged of files that %[1]s does not name", segment.ManifestName)
	}
	return fmt.Sprintf("record %d is newer than %s, which knows of records up to %d", n.seq, segment.ManifestName, m.LastSeq)
}

// Opener opens files to look at them.
type Opener func(name string) (vfs.File, error)

// FindNewer finds, of the files with these names, those that hold data which the
// manifest does not know, and those that cannot be read, since nobody knows what they
// hold. What is no regular file, such as a pipe, cannot hold any.
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
		return judgeRecords(f, h, tail.End.Offset, size, m) // behind the end
	})
	return append(newer, found...), err
}

// errKnown says that a file holds nothing that the manifest does not know.
var errKnown = errors.New("mmapkv: nothing newer")

// lookAt opens a file and has it judged.
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

// isNoFile says whether an error of opening means that there is no regular file: it is
// gone, or was opened and is something else, about which the system says nothing. An
// error that does not come from opening, such as a cancellation, does not mean that.
func isNoFile(err error) bool {
	var number errno.Errno
	var opening *fs.PathError
	return errors.Is(err, fs.ErrNotExist) || errors.As(err, &opening) && !errors.As(err, &number)
}

// judgeStray judges a file that the manifest does not name. id is that of its name.
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
		// Blocks of a listed file: a power cut can leave such in a file that was made and
		// never synced. That file itself is there.
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

// judgeRecords judges the records of a log's file from an offset on. The first one
// decides, but for that of a recovery's copy: behind the records that were announced the
// log may have gone on.
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

// FirstRecords is how many bytes are searched, for a record that is whole, if there
// is none at the place where there should be one.
const FirstRecords = 1 << 20

// firstRecord finds the first record from an offset on; seq is 0 if there is none.
// Of a long value only the head is read: a leftover may have gigabytes.
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

// RefuseNewer is an error if there is newer data than the manifest knows. It is asked
// before Open changes anything.
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

// MostNamed is how many files an error names.
const MostNamed = 10

// OlderManifest says why a manifest is not the one of these files.
func OlderManifest(newer []Newer, m *segment.Manifest) string {
	reason := fmt.Sprintf("it is older than other files, as if it had been put back from a copy: it knows of records up to %d, and there are newer ones in", m.LastSeq)
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
