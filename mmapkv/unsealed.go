package mmapkv

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/mmapkv/internal/replay"
	"github.com/mmapkv/mmapkv/segment"
)

// The unsealed files are checked as they are while a writer goes on: package replay says
// what counts of them, without a list of all records.

// tailFile is an unsealed file.
type tailFile struct {
	vfs.File
	name  string
	salt  uint64
	known replay.File // when it was opened
}

// tailCheck follows the log through the unsealed files.
type tailCheck struct {
	verifier *verifier
	replay   *replay.Log
	seen     uint64 // the highest watermark that any record has
	// records are those that count, with those of a batch at the end that is not whole:
	// a writer may be in the middle of it.
	records int
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
		c := v.newTailCheck(files, watermark)
		err = c.run(files)
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return false, err
		}
		// The files themselves may know better what has to be there. A record up to
		// what they say was there before a second look.
		if pass == 0 && c.seen > watermark && (len(c.damages) > 0 || c.replay.Reached() < c.seen) {
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
		t := &tailFile{File: f, name: segment.FileName(info.ID), salt: info.Salt, known: replay.File{DataStart: dataStart, Size: size}}
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
	e, err := segment.NewScanner(&patient.Reader{File: t.File, Before: v.pacer.Work}, t.salt, t.known.DataStart, t.known.Size).Next()
	switch {
	case err == nil && replay.Credible(&e, v.manifest.LastSeq):
		t.known.HasFirst, t.known.Previous = true, e.Previous
	case err != nil && err != io.EOF && !errors.Is(err, segment.ErrBadRecord):
		return err
	}
	return nil
}

// newTailCheck begins to follow the log. All records up to the watermark can be read.
func (v *verifier) newTailCheck(files []*tailFile, watermark uint64) *tailCheck {
	known := make([]replay.File, len(files))
	for i, f := range files {
		known[i] = f.known
	}
	return &tailCheck{verifier: v, replay: replay.New(known, v.manifest.SealedSeq, watermark)}
}

// run follows the log from file to file.
func (c *tailCheck) run(files []*tailFile) error {
	for _, f := range files {
		if err := c.walk(f); err != nil {
			return err
		}
	}
	return nil
}

// walk follows the log through one file. Behind its end it looks for watermarks.
func (c *tailCheck) walk(f *tailFile) error {
	v := c.verifier
	defer func() {
		v.through += min(v.reading, f.known.Size)
		v.reading = 0
	}()
	scanner := segment.NewScanner(v.reader(f.File), f.salt, f.known.DataStart, f.known.Size)
	err := replay.Each(scanner, v.manifest.LastSeq, func(e segment.Entry) {
		if e.Flags&segment.HasWatermark != 0 {
			c.seen = max(c.seen, e.Watermark)
		}
		counts, lost := c.replay.Add(replay.RecordOf(&e))
		c.lose(f, lost)
		if counts {
			c.records++
		}
		if counts && !e.ValueOK {
			c.damage(Damage{Kind: DamagedValue, File: f.name, Offset: e.Offset, Size: e.Size, Key: cloneKey(e.Key), Reason: failure.BadValue})
		}
		v.pacer.Rest(e.Size)
	})
	if err == nil {
		c.lose(f, c.replay.EndFile())
	}
	return err
}

// lose tells that records which were on disk are not where the log is, and what lies
// in front of the place where it goes on is lost.
func (c *tailCheck) lose(f *tailFile, lost *replay.Lost) {
	if lost == nil {
		return
	}
	c.damage(Damage{Kind: DamagedRange, File: f.name, Offset: lost.From.Offset, Size: max(lost.To.Offset-lost.From.Offset, 0),
		Reason: fmt.Sprintf("records %d to %d were on disk, and cannot be read", lost.From.Seq+1, lost.To.Seq)})
}
