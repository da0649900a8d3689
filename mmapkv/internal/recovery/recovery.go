// Package recovery makes durable what counts of the log, after anything but a clean close.
//
// What must hold:
//
//   - Nobody sees a record before it is known to be on disk.
//   - Until its one commit of the manifest, recovery changes nothing on disk but the numbers
//     and ids that the manifest knows: a crash during recovery is as good as one before it.
//   - What has rotted since the scan never gets a fresh checksum.
package recovery

import (
	"fmt"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/mmapkv/internal/replay"
	"github.com/mmapkv/mmapkv/segment"
)

// Stats is what recovery found and did.
type Stats struct {
	Scanned   int   // records read in unsealed files
	Recovered int   // records of them that were not known to be on disk, and now are
	Discarded int64 // bytes of the torn end
}

// recoverer is one recovery.
type recoverer struct {
	catalog *catalog.Catalog
	hints   *hints.Hints
	stats   Stats
}

// Run finds, after anything but a clean close, how far the log goes in the unsealed
// files of a catalog, and makes that durable before anybody sees it.
func Run(c *catalog.Catalog, h *hints.Hints) (Stats, error) {
	r := recoverer{catalog: c, hints: h}
	err := r.run()
	return r.stats, err
}

// unsealedFile is an unsealed file: what the scan found in it, and what of that counts.
type unsealedFile struct {
	*catalog.File
	found  *replay.Scanned
	hint   *segment.HintBuilder // of the records
	counts replay.Part
}

// run asks package replay what counts. Records beyond the watermark may be in the page cache only, where a
// failed sync can have left them with nothing on disk behind them; so they are copied
// to a new file and that is synced.
func (r *recoverer) run() error {
	var files []*unsealedFile
	var last *catalog.File // the sealed file in front of the unsealed ones
	for _, f := range r.catalog.Files.Order {
		if f.Active == nil {
			last = f
			continue
		}
		u, err := r.scanUnsealed(f)
		if err != nil {
			return err
		}
		files = append(files, u)
	}
	start := segment.End{Seq: r.catalog.Manifest.Current.SealedSeq}
	if last != nil {
		start.Offset = last.End.Offset
	}
	r.decide(files, start.Seq)
	if r.catalog.ReadOnly {
		for _, u := range files {
			r.settle(u, u.counts.End)
			if !u.counts.Damaged {
				u.Built = u.hint
			}
		}
		return nil
	}
	return r.commitRecovery(files, start)
}

// scanUnsealed finds what is in an unsealed file, and the highest number and watermark
// that any record carries.
func (r *recoverer) scanUnsealed(f *catalog.File) (*unsealedFile, error) {
	size, err := f.Handle().Size()
	if err != nil {
		return nil, err
	}
	u := &unsealedFile{File: f, hint: segment.NewHintBuilder()}
	known := replay.File{DataStart: f.DataStart, Size: size}
	u.found, err = replay.ScanFile(f.Handle(), f.Salt, known, r.catalog.Manifest.Current.LastSeq, func(e segment.Entry) {
		r.catalog.LastGiven.Store(max(r.catalog.LastGiven.Load(), e.Seq))
		u.hint.Add(e)
	})
	if err != nil {
		return nil, failure.Unusable(segment.FileName(f.ID), fmt.Errorf("scanning it: %w", err))
	}
	r.catalog.Syncer.MarkDurable(u.found.Watermark)
	r.stats.Scanned += u.found.Count()
	return u, nil
}

// decide has package replay say what counts of the files.
func (r *recoverer) decide(files []*unsealedFile, sealedSeq uint64) {
	found := make([]*replay.Scanned, len(files))
	for i, u := range files {
		found[i] = u.found
	}
	parts := replay.Decide(found, sealedSeq, r.catalog.Syncer.Durable(), func(i int, one replay.Record) {
		r.catalog.NoteDamage(failure.Damage{File: segment.FileName(files[i].ID), Offset: one.Offset, Reason: failure.BadValue})
	})
	for i, part := range parts {
		files[i].counts = part
		r.stats.Recovered += part.Records - part.Synced
		r.stats.Discarded += part.Discarded
	}
}

// settle makes a file end where recovery says.
func (r *recoverer) settle(u *unsealedFile, end segment.End) {
	u.File.End, u.File.Ended = end, true
	u.SetLimit(end.Offset)
}
