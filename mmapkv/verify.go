package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// VerifyOptions says how Verify goes about it. The zero value means the defaults.
type VerifyOptions struct {
	// Progress, if set, is called now and then, by the goroutine that called Verify,
	// with how many bytes of the segments have been read, of how many. Beside a
	// writer both can change.
	Progress func(done, total int64)

	seams *inject.Seams
}

// Verify reads every record of the store in a directory, every hint and the
// manifest, and reports what is damaged. It takes no lock and changes nothing; it
// works beside a writer, in this process or another, and on read-only media. A nil
// o means all defaults.
//
// Beside a writer, and after a crash, what lies behind the last known sync is
// still moving or was never promised, and is no damage; what a writer adds after
// Verify has begun need not be looked at. Damage is no error of Verify: see
// Report.Err.
//
// fs.ErrNotExist when there is no directory or no store in it; ErrVersion when its
// manifest is of another version; the context's error when that ends. The report
// is then of what was seen so far. The memory it takes is bounded by the size of
// the largest segment, whatever the files say.
func Verify(ctx context.Context, dir string, o *VerifyOptions) (Report, error) {
	var options VerifyOptions
	if o != nil {
		options = *o
	}
	fsys := vfs.OS()
	if seams := options.seams; seams != nil && seams.FS != nil {
		fsys = seams.FS
	}
	opened, err := fsys.OpenDir(dir)
	if err != nil {
		return Report{}, err
	}
	v := verifier{dir: opened, pacer: &pace.Pacer{Ctx: ctx}, progress: options.Progress}
	err = v.run()
	return v.report(), errors.Join(err, opened.Close())
}

// VerifyNamespace is Verify of the directory that OpenNamespace opens.
func VerifyNamespace(ctx context.Context, name string, o *VerifyOptions) (Report, error) {
	if err := checkNamespace(name); err != nil {
		return Report{}, err
	}
	return Verify(ctx, filepath.Join(Root(), name), o)
}

// Verify is the function Verify for an open store: it reports also what of the
// records that were acknowledged before it was called cannot be read. It takes its
// time, so as not to hold up reads and writes. Close ends it, with ErrClosed.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	if s.closed.Load() {
		return Report{}, ErrClosed
	}
	ctx, done := pace.OwnContext(ctx)
	defer done()
	rank.Acquire[rank.InFlight]()
	s.writing.Add(1) // Close waits for it as for a write
	defer s.leave()
	if s.closed.Load() {
		return Report{}, ErrClosed
	}
	pacer, ended := s.newQuietPacer(ctx, 0)
	defer ended()
	v := verifier{dir: s.catalog.Dir, pacer: pacer, known: s.acknowledged.Load()}
	err := v.run()
	return v.report(), err
}

// newQuietPacer makes what a check keeps pace with: it gives way to everybody.
func (s *Store) newQuietPacer(ctx context.Context, budget int64) (p *pace.Pacer, done func()) {
	p = &pace.Pacer{Ctx: ctx, Stop: s.stop, Budget: budget, Hurry: s.closed.Load, Busy: s.beingWritten, Began: time.Now()}
	if s.manual() {
		return p, func() {}
	}
	p.Napper = nap.New()
	return p, p.Napper.Close
}

// verifier is one run of Verify.
//
// Beside a writer it relies on this. A sealed file that is listed never changes,
// and once opened it can be read even when it is gone. A record is in a listed
// file before anybody knows that it is on disk, so that all records up to a
// watermark are found in the files of a manifest that is read later than the
// watermark; only they have to be there.
type verifier struct {
	dir      vfs.Dir
	pacer    *pace.Pacer
	progress func(done, total int64)
	known    uint64 // all records up to this number can be read; 0: the manifest knows

	manifest segment.Manifest
	loaded   bool
	from     int                 // all files listed before this one are checked
	target   uint64              // the records up to here are to be checked
	done     map[segment.ID]bool // checked with its known end, or not there to be read
	absent   map[segment.ID]bool // missing, or of no use
	checked  uint64              // the log is checked up to here
	changed  bool                // the manifest is not the one that was read first

	findings
	segments, records, hints int
	through, reading, total  int64 // bytes: of files that are done, of the one being read, of all
}

const (
	// leastHint is what a hint may take in any case: its segment can have been cut.
	leastHint = 256 << 20
)

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

// withoutManifest says what it means that there is none.
func (v *verifier) withoutManifest(err error) error {
	names, namesErr := v.dir.Names()
	if namesErr != nil {
		return namesErr
	}
	if reason := listing.WhyNoManifest(names); reason != "" {
		v.damage(Damage{Kind: DamagedManifest, File: segment.ManifestName, Reason: reason})
		return nil
	}
	return fmt.Errorf("mmapkv: there is no store: %w", err)
}

// ends says whether it is known where the records of the i-th file end: of sealed files, and of
// the last one after a clean close.
func (v *verifier) ends(i int) bool {
	m := &v.manifest
	return m.Segments[i].Sealed || m.Clean && i == len(m.Segments)-1
}

// next is the oldest file whose end is known that is to be checked, and the number
// that the log had reached before it. If the manifest has changed, what was
// checked can be in other files now; what was written meanwhile is left out.
func (v *verifier) next() (info segment.SegmentInfo, before uint64, ok bool) {
	for ; v.from < len(v.manifest.Segments); v.from++ {
		i := v.from
		info, before = v.manifest.Segments[i], 0
		if i > 0 && v.ends(i-1) {
			before = v.manifest.Segments[i-1].End.Seq
		}
		stale := v.changed && (info.End.Seq < v.checked || i > 0 && before >= v.target)
		if v.ends(i) && !v.done[info.ID] && !stale {
			return info, before, true
		}
	}
	return info, 0, false
}

// checkSealed checks all files whose end is known.
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

// missing looks whether a file that is not there is still listed.
func (v *verifier) missing(info segment.SegmentInfo) error {
	if err := v.load(); err != nil {
		return err
	}
	if v.lists(info) {
		v.done[info.ID], v.absent[info.ID] = true, true
		v.damage(Damage{Kind: MissingSegment, File: segment.FileName(info.ID), Reason: "the manifest names it, and it is missing"})
	}
	return nil
}

// lists says whether the manifest that was read last has a file just so.
func (v *verifier) lists(info segment.SegmentInfo) bool {
	return slices.Contains(v.manifest.Segments, info)
}

// open opens a listed file. It returns nil when it is damaged so that it cannot be
// read.
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

// checkFile checks a file whose end is known, and its hint.
func (v *verifier) checkFile(info segment.SegmentInfo, before uint64) (err error) {
	f, dataStart, size, err := v.open(info)
	if err != nil || f == nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	cold := vfs.Resident(f, size) < coldPart
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
	if cold {
		vfs.Evict(f)
	}
	return err
}

// reader reads a file, and tells how far it is.
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
		if v.ends(i) && !v.done[info.ID] {
			v.total += info.End.Offset
		}
	}
}

// readFile reads a small file; what the disk refuses of it is zeros.
func (v *verifier) readFile(name string, most int64) (content []byte, err error) {
	f, err := v.dir.OpenReadOnly(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := patient.Reader{File: f, Before: v.pacer.Work}
	return r.Content(most)
}

// readHint reads the hint of a file, nil if there is none to compare with.
func (v *verifier) readHint(info segment.SegmentInfo, size int64) (*segment.Hint, error) {
	name := segment.HintName(info.ID)
	content, err := v.readFile(name, max(segment.MaxHintSize(size), leastHint))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, v.remarkHint(info, "it is missing; the next open makes it anew")
	}
	if err != nil {
		return nil, err
	}
	v.hints++
	hint, err := segment.ParseHint(content, info.ID, info.Salt)
	if err != nil {
		v.damage(Damage{Kind: DamagedHint, File: name, Reason: err.Error()})
		return nil, nil
	}
	if hint.Covers != info.End {
		return nil, v.remarkHint(info, fmt.Sprintf("it is of an earlier time, when the segment ended at %d; the next open makes it anew", hint.Covers.Offset))
	}
	return hint, nil
}

// remarkHint remarks on the hint of a file, if that is still listed.
func (v *verifier) remarkHint(info segment.SegmentInfo, what string) error {
	if err := v.load(); err != nil {
		return err
	}
	if v.lists(info) {
		v.remark(segment.HintName(info.ID), what)
	}
	return nil
}

// findStrays remarks on files of our naming pattern that the manifest does not
// name, and reports those that are newer than it as damage.
func (v *verifier) findStrays() error {
	names, err := v.dir.Names()
	if err != nil {
		return err
	}
	newer, err := v.findNewer(names)
	if err != nil {
		return err
	}
	listed := map[segment.ID]bool{}
	for _, info := range v.manifest.Segments {
		listed[info.ID] = true
	}
	for _, name := range names {
		id, kind, ours := segment.ParseFileName(name)
		switch i := slices.IndexFunc(newer, func(n listing.Newer) bool { return n.Name == name }); {
		case i >= 0:
			kind := NewerData
			if newer[i].Unread != nil {
				kind = DamagedSegment
			}
			v.damage(Damage{Kind: kind, File: name, Offset: newer[i].Offset, Reason: newer[i].Why(&v.manifest)})
		case !ours:
		case kind == segment.TemporaryFile, (kind == segment.SegmentFile || kind == segment.HintFile) && !listed[id]:
			v.remark(name, "the manifest does not name it; a writer is about to use or to remove it, or the next open removes it")
		}
	}
	return nil
}

// findNewer finds the files that are newer than the manifest. A writer lists a file
// before it writes the first record there; so what is found counts if the manifest,
// read once more, is still the same.
func (v *verifier) findNewer(names []string) (newer []listing.Newer, err error) {
	for {
		if err := v.load(); err != nil {
			return nil, err
		}
		edit := v.manifest.Edit
		open := func(name string) (vfs.File, error) {
			if err := v.pacer.Cancelled(); err != nil {
				return nil, err
			}
			return v.dir.OpenReadOnly(name)
		}
		if newer, err = listing.FindNewer(open, names, &v.manifest); err != nil || len(newer) == 0 {
			return nil, err
		}
		if err := v.load(); err != nil {
			return nil, err
		}
		if v.manifest.Edit == edit {
			return newer, nil
		}
	}
}
