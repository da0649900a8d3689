package check

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// Options says how Verify goes about it.
type Options struct {
	// Pacer sets the pace, and ends the check with its error.
	Pacer *pace.Pacer
	// Progress, if not nil, is told how many bytes of the segments were read, of how
	// many. It is called under no lock.
	Progress func(done, total int64)
	// Known says that all records up to this number can be read. The manifest may know
	// better; 0 leaves it to the manifest.
	Known uint64
}

// Verify checks the store in a directory. The report is of what was seen, also with an
// error. Damage is not an error; errors are fs.ErrNotExist when there is no store,
// failure.ErrVersion when its manifest is of another version, those of the pacer, and
// those of the disk, but not an I/O error of a read: that is damage.
func Verify(dir vfs.Dir, o Options) (Report, error) {
	v := verifier{dir: dir, pacer: o.Pacer, progress: o.Progress, known: o.Known}
	err := v.run()
	return v.report(), err
}

// verifier is one run of Verify.
type verifier struct {
	dir      vfs.Dir
	pacer    *pace.Pacer
	progress func(done, total int64)
	known    uint64 // all records up to this number can be read

	manifest     segment.Manifest
	loaded       bool
	from         int                 // all files listed before this one are checked
	target       uint64              // the records up to here are to be checked
	done         map[segment.ID]bool // checked up to its known end, or cannot be read
	absent       map[segment.ID]bool // missing, or unusable
	checked      uint64              // the log is checked up to here
	partialsRead bool                // the partial hints are checked
	changed      bool                // the manifest is not the one that was read first

	first map[segment.ID]segment.Range // what the first partial hint of an unsealed file covers

	findings
	segments, records, hints int
	through, reading, total  int64 // bytes: of checked files, of the one being read, of all
}

func (v *verifier) report() Report {
	return Report{
		Segments: v.segments, Records: v.records, Hints: v.hints, Bytes: v.through + v.reading, Clean: v.manifest.Clean,
		Damages: v.damages, Omitted: v.omitted, Remarks: v.remarks,
	}
}

func (v *verifier) run() error {
	if err := v.pacer.Cancelled(); err != nil {
		return err
	}
	v.done, v.absent = map[segment.ID]bool{}, map[segment.ID]bool{}
	if err := v.load(); err != nil || !v.loaded {
		return err
	}
	v.known = max(v.known, v.manifest.Watermark)
	v.target = max(v.known, v.manifest.SealedSeq)
	for {
		if err := v.checkSealed(); err != nil {
			return err
		}
		again, err := v.checkTail()
		if err != nil {
			return err
		}
		if !again {
			break
		}
	}
	v.total = v.through
	v.tellProgress()
	return v.findStrays()
}

// endKnown says whether the manifest says where the records of the i-th file end. It
// does of sealed files, and of the last one after a clean close.
func (v *verifier) endKnown(i int) bool {
	m := &v.manifest
	return m.Segments[i].Sealed || m.Clean && i == len(m.Segments)-1
}

// next is the oldest file with a known end that is still to be checked, and the number
// that the log had reached before it. If the manifest has changed, other files may hold
// what was already checked. Records that the writer has added since the check began need
// no check.
func (v *verifier) next() (info segment.SegmentInfo, before uint64, ok bool) {
	for ; v.from < len(v.manifest.Segments); v.from++ {
		i := v.from
		info, before = v.manifest.Segments[i], 0
		if i > 0 && v.endKnown(i-1) {
			before = v.manifest.Segments[i-1].End.Seq
		}
		stale := v.changed && (info.End.Seq < v.checked || i > 0 && before >= v.target)
		if v.endKnown(i) && !v.done[info.ID] && !stale {
			return info, before, true
		}
	}
	return info, 0, false
}

// checkSealed checks all files with a known end.
func (v *verifier) checkSealed() error {
	for info, before, ok := v.next(); ok; info, before, ok = v.next() {
		err := v.checkFile(info, before)
		if errors.Is(err, fs.ErrNotExist) {
			err = v.missing(info)
		} else if err == nil {
			v.done[info.ID] = true
			v.checked = info.End.Seq
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// missing reports a file that is gone, if the manifest still lists it.
func (v *verifier) missing(info segment.SegmentInfo) error {
	if err := v.load(); err != nil {
		return err
	}
	if v.lists(info) {
		v.done[info.ID], v.absent[info.ID] = true, true
		v.damage(Damage{Kind: MissingSegment, File: segment.FileName(info.ID), Reason: listing.MissingReason})
	}
	return nil
}

// lists says whether the manifest that was read last lists exactly this file.
func (v *verifier) lists(info segment.SegmentInfo) bool {
	return slices.Contains(v.manifest.Segments, info)
}

// open opens a listed file. If damage makes the file unreadable, open reports that and
// returns nil.
func (v *verifier) open(info segment.SegmentInfo) (f vfs.File, dataStart, size int64, err error) {
	name := segment.FileName(info.ID)
	if f, err = v.dir.OpenReadOnly(name); err != nil {
		return nil, 0, 0, err
	}
	size, err = f.Size()
	if err != nil {
		return nil, 0, 0, errors.Join(err, f.Close())
	}
	_, header, err := listing.Inspect(f, info)
	if err == nil {
		return f, header.Size(), size, nil
	}
	if number := errno.Errno(0); errors.As(err, &number) && number != errno.EIO {
		return nil, 0, 0, errors.Join(err, f.Close())
	}
	v.damage(Damage{Kind: DamagedSegment, File: name, Reason: err.Error()})
	v.done[info.ID], v.absent[info.ID] = true, true
	return nil, 0, 0, f.Close()
}

// checkFile checks a file with a known end, and its hint.
func (v *verifier) checkFile(info segment.SegmentInfo, before uint64) (err error) {
	f, dataStart, size, err := v.open(info)
	if err != nil || f == nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hint, err := v.readHint(info, min(size, info.End.Offset))
	if err != nil {
		return err
	}
	c := recordCheck{
		reader: v.reader(f), pacer: v.pacer, name: segment.FileName(info.ID), info: info, dataStart: dataStart, size: size,
		after: before, hint: hint, found: v.damage,
	}
	err = c.run()
	v.segments++
	v.records += c.records
	v.through += min(v.reading, info.End.Offset)
	v.reading = 0
	return err
}

// reader reads a file, and notes how far it has come.
func (v *verifier) reader(f vfs.File) *patient.Reader {
	return &patient.Reader{File: f, Before: v.pacer.Work, Reached: func(offset int64) {
		v.reading = max(v.reading, offset)
		v.tellProgress()
	}}
}

func (v *verifier) tellProgress() {
	if v.progress != nil {
		rank.AssertNone("VerifyOptions.Progress")
		v.progress(v.through+v.reading, max(v.total, v.through+v.reading))
	}
}

// count finds how many bytes there are to read.
func (v *verifier) count() {
	v.total = v.through
	for i, info := range v.manifest.Segments {
		if v.endKnown(i) && !v.done[info.ID] {
			v.total += info.End.Offset
		}
	}
}
