package mmapkv

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// The unsealed files are checked by the rules of recovery.go, without its list of
// all records, and as they are while a writer goes on.

// tailFile is an unsealed file.
type tailFile struct {
	vfs.File
	name            string
	salt            uint64
	dataStart, size int64
	hasFirst        bool        // the record at the very start is readable
	previous        segment.End // what that says of the file before
}

// tailCheck follows the log through the unsealed files.
type tailCheck struct {
	verifier  *verifier
	watermark uint64      // all records up to this number can be read
	seen      uint64      // the highest watermark that any record has
	reached   segment.End // where the log is
	records   int
	findings
}

// checkTail checks the unsealed files. again says that the manifest has changed so
// that there are sealed files to check first.
func (v *verifier) checkTail() (again bool, err error) {
	watermark := v.known
	through := v.through
	for pass := 0; ; pass++ {
		if err := v.load(); err != nil {
			return false, err
		}
		if _, _, ok := v.next(); ok {
			return true, nil
		}
		files, changed, err := v.openTail()
		if err != nil || changed {
			return changed, err
		}
		c := tailCheck{verifier: v, watermark: watermark, reached: segment.End{Seq: v.manifest.SealedSeq}}
		err = c.run(files)
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return false, err
		}
		// The files themselves may know better what has to be there. A record up to
		// what they say was there before a second look.
		if pass == 0 && c.seen > watermark && (len(c.damages) > 0 || c.reached.Seq < c.seen) {
			watermark, v.through = c.seen, through
			continue
		}
		v.segments += len(files)
		v.records += c.records
		v.add(&c.findings)
		return false, nil
	}
}

// openTail opens the unsealed files. changed says that one was gone because it is
// listed no more.
func (v *verifier) openTail() (files []*tailFile, changed bool, err error) {
	defer func() {
		if err != nil || changed {
			for _, f := range files {
				err = errors.Join(err, f.Close())
			}
			files = nil
		}
	}()
	for i, info := range v.manifest.Segments {
		if v.ends(i) || v.absent[info.ID] {
			continue
		}
		f, dataStart, size, err := v.open(info)
		if errors.Is(err, fs.ErrNotExist) {
			if err := v.missing(info); err != nil {
				return files, false, err
			}
			if !v.absent[info.ID] {
				return files, true, nil
			}
			continue
		}
		if err != nil {
			return files, false, err
		}
		if f == nil {
			continue
		}
		t := &tailFile{File: f, name: segment.FileName(info.ID), salt: info.Salt, dataStart: dataStart, size: size}
		files = append(files, t)
		v.total += size
		if err := t.readFirst(v); err != nil {
			return files, false, err
		}
	}
	return files, false, nil
}

// readFirst finds what the first record says of the file before.
func (t *tailFile) readFirst(v *verifier) error {
	e, err := segment.NewScanner(&checkReader{file: t.File, pacer: v.pacer}, t.salt, t.dataStart, t.size).Next()
	switch {
	case err == nil:
		t.hasFirst, t.previous = true, e.Previous
	case err != io.EOF && !errors.Is(err, segment.ErrBadRecord):
		return err
	}
	return nil
}

// run follows the log from file to file, and looks for watermarks behind its end.
func (c *tailCheck) run(files []*tailFile) error {
	goesOn := true
	for i, f := range files {
		var next *tailFile
		if i+1 < len(files) {
			next = files[i+1]
		}
		var err error
		if goesOn, err = c.walk(f, next, goesOn); err != nil {
			return err
		}
	}
	return nil
}

// walk follows the log through one file, unless it has ended before, and says
// whether it goes on in the next one.
func (c *tailCheck) walk(f, next *tailFile, counts bool) (goesOn bool, err error) {
	v := c.verifier
	reader := v.reader(f.File)
	defer func() {
		v.through += min(v.reading, f.size)
		v.reading = 0
	}()
	reachedIt := counts
	if counts {
		c.reached.Offset = f.dataStart
	}
	torn := false // the log ends in the middle of a record
	scanner := segment.NewScanner(reader, f.salt, f.dataStart, f.size)
	last := uint64(0)
	for {
		e, err := scanner.Next()
		if errors.Is(err, segment.ErrBadRecord) {
			e, err = scanner.Resync(last + 1)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		if e.Flags&segment.HasWatermark != 0 {
			c.seen = max(c.seen, e.Watermark)
		}
		if counts {
			counts, torn = c.take(f, next, &e, last > 0)
		}
		last = e.Seq
		v.pacer.rest(e.Size)
	}
	return reachedIt && !torn && c.leave(f, next), nil
}

// take takes the next record of a file, if it counts. torn says that it is the
// one in whose middle the log ends.
func (c *tailCheck) take(f, next *tailFile, e *segment.Entry, follows bool) (counts, torn bool) {
	if e.Offset != c.reached.Offset || follows && e.Seq != c.reached.Seq+1 {
		if c.endsHere(next) || e.Seq-1 > c.watermark {
			return false, false
		}
		c.lose(f, e.Offset, e.Seq-1)
	}
	if !e.ValueOK {
		if e.Seq > c.watermark {
			return false, true
		}
		c.damage(Damage{Kind: DamagedValue, File: f.name, Offset: e.Offset, Size: e.Size, Key: cloneKey(e.Key), Reason: badValue})
	}
	c.records++
	c.reached = segment.End{Offset: e.Offset + e.Size, Seq: e.Seq}
	return true, false
}

// leave decides what the end of a file means, and whether the log goes on in the
// next one.
func (c *tailCheck) leave(f, next *tailFile) (goesOn bool) {
	switch {
	case c.endsHere(next):
		return true
	case next == nil:
		if c.watermark > c.reached.Seq {
			c.lose(f, f.size, c.watermark)
		}
		return true
	case next.hasFirst && next.previous.Offset > c.reached.Offset && next.previous.Seq <= c.watermark:
		c.lose(f, min(next.previous.Offset, f.size), next.previous.Seq)
		c.reached = next.previous
		return true
	case c.watermark > c.reached.Seq:
		c.lose(f, f.size, c.watermark)
		if !next.hasFirst {
			c.reached.Seq = c.watermark
		}
		return !next.hasFirst || next.previous.Seq <= c.watermark
	}
	return !next.hasFirst
}

// endsHere says whether the next file's first record names the place that the log
// has reached as the end of this file.
func (c *tailCheck) endsHere(next *tailFile) bool {
	return next != nil && next.hasFirst && next.previous == c.reached
}

// lose tells that the records up to a number, which were on disk, are not where the
// log is, and what lies in front of the offset is lost.
func (c *tailCheck) lose(f *tailFile, to int64, seq uint64) {
	c.damage(Damage{Kind: DamagedRange, File: f.name, Offset: c.reached.Offset, Size: max(to-c.reached.Offset, 0),
		Reason: fmt.Sprintf("records %d to %d were on disk, and cannot be read", c.reached.Seq+1, seq)})
}
