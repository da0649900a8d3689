package check

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

// tailFile is an unsealed file.
type tailFile struct {
	vfs.File
	name  string
	salt  uint64
	known replay.File // what was known when the file was opened
}

// tailCheck follows the log through the unsealed files while a writer may go on. Package
// replay says what counts, and no list of all records is kept.
type tailCheck struct {
	verifier *verifier
	replay   *replay.Log
	seen     uint64 // the highest watermark that any record carries
	// records counts what counts of the log. It includes a batch at the end that is not
	// whole, since a writer may be in the middle of it.
	records int
	findings
}

// checkTail checks the unsealed files. again says that the manifest has changed and that
// there are sealed files to check first.
func (v *verifier) checkTail() (again bool, err error) {
	if err := v.readPartials(); err != nil {
		return false, err
	}
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
		// The files may carry a higher watermark. All records up to that were on disk
		// before this pass ended, so a second pass must find them.
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

// openTail opens the unsealed files. changed says that one is gone because the manifest
// no longer lists it.
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
		if v.endKnown(i) || v.absent[info.ID] {
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
		if r, ok := v.first[info.ID]; ok && r.From.Offset == dataStart {
			t.known.HasFirst, t.known.Previous = true, r.Previous
		} else if err := t.readFirst(v); err != nil {
			return files, false, err
		}
	}
	return files, false, nil
}

// readFirst finds what the first record says of the previous file.
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

// newTailCheck makes a tailCheck. All records up to the watermark must be there.
func (v *verifier) newTailCheck(files []*tailFile, watermark uint64) *tailCheck {
	known := make([]replay.File, len(files))
	for i, f := range files {
		known[i] = f.known
	}
	return &tailCheck{verifier: v, replay: replay.New(known, v.manifest.SealedSeq, watermark)}
}

// run follows the log from file to file, in order.
func (c *tailCheck) run(files []*tailFile) error {
	for _, f := range files {
		if err := c.walk(f); err != nil {
			return err
		}
	}
	return nil
}

// walk follows the log through one file. Past the end of the log it still looks for
// watermarks.
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

// lose reports a range where there were records on disk and none can be read.
func (c *tailCheck) lose(f *tailFile, lost *replay.Lost) {
	if lost == nil {
		return
	}
	c.damage(Damage{Kind: DamagedRange, File: f.name, Offset: lost.From.Offset, Size: max(lost.To.Offset-lost.From.Offset, 0),
		Reason: fmt.Sprintf("records %d to %d were on disk, and cannot be read", lost.From.Seq+1, lost.To.Seq)})
}
