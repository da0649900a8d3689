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
	"log/slog"
	"slices"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/mmapkv/internal/replay"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
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

// commitRecovery copies what is not known to be on disk, and commits one manifest
// that seals the old files at what is, and names the new ones. Before that commit
// nothing has changed but what the manifest knows of numbers and ids; a crash during
// recovery is as good as one before it.
func (r *recoverer) commitRecovery(files []*unsealedFile, start segment.End) error {
	reached := start
	var kept []*unsealedFile
	for _, u := range files {
		if u.counts.Keep.Offset > u.DataStart {
			reached = u.counts.Keep
			kept = append(kept, u)
		}
	}
	if err := r.announceCopies(files); err != nil {
		return err
	}
	copies, err := r.copyUnsynced(files, reached)
	if errno.OutOfSpace(err) {
		// What a crash left unlisted, such as half of a long value, may fill the disk.
		if err := r.catalog.RemoveOrphans(); err != nil {
			return err
		}
		copies, err = r.copyUnsynced(files, reached)
	}
	for errno.OutOfSpace(err) && (r.catalog.Reserve.Give(reserve.NewFileRoom, r.catalog.Reserve.ManifestRoom()/2) || r.catalog.Reserve.GiveFile(0)) {
		copies, err = r.copyUnsynced(files, reached)
	}
	if err != nil {
		return err
	}
	for _, u := range files {
		r.settle(u, u.counts.Keep)
	}
	if n := len(copies); n > 0 {
		reached = copies[n-1].End
	}
	r.catalog.Syncer.MarkDurable(reached.Seq)
	if err = r.sealRecovered(files, kept, copies); err != nil {
		for _, f := range copies {
			f.Retire() // the manifest may name it, or not
		}
	}
	return err
}

// copyUnsynced copies the records that count and are not known to be on disk to
// new files, behind the place that the log has reached, and makes them durable.
func (r *recoverer) copyUnsynced(files []*unsealedFile, reached segment.End) (_ []*catalog.File, err error) {
	c := copier{catalog: r.catalog, previous: reached}
	defer func() {
		if err != nil {
			for _, f := range c.files {
				r.catalog.RemoveFile(f)
			}
		}
	}()
	for _, u := range files {
		u.SetLimit(u.counts.End.Offset)
		if err := c.copyRecords(u); err != nil {
			return nil, err
		}
	}
	return c.finish()
}

// sealRecovered writes the hints and the manifest of what recovery has made
// durable, and takes the rest out.
func (r *recoverer) sealRecovered(files, kept []*unsealedFile, copies []*catalog.File) error {
	for _, u := range kept {
		if err := r.writeRecoveredHint(u); err != nil {
			return err
		}
	}
	for _, f := range copies {
		if err := r.hints.Write(f, f.End, nil); err != nil {
			return err
		}
	}
	var infos []segment.SegmentInfo
	for _, u := range kept {
		f := u.File
		infos = append(infos, segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind, Sealed: true, End: f.End})
	}
	for i, f := range copies {
		// The log can go on in the last one, which is whole and synced, if the
		// numbers go on there too.
		goesOn := i == len(copies)-1 && f.End.Seq == r.catalog.LastGiven.Load() && f.End.Offset < f.Capacity/2
		f.Ended = !goesOn
		infos = append(infos, segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind, Sealed: !goesOn, End: f.End})
	}
	err := r.catalog.Edit(true, func(m *segment.Manifest) error {
		sealed := m.Segments[:0]
		for _, info := range m.Segments {
			if info.Sealed {
				sealed = append(sealed, info)
			}
		}
		m.Segments = append(sealed, infos...)
		return nil
	})
	if err != nil {
		return err
	}
	return r.adopt(files, kept, copies)
}

// writeRecoveredHint writes the hint of a file that the scan has read just now.
func (r *recoverer) writeRecoveredHint(u *unsealedFile) error {
	if u.counts.Damaged {
		return r.hints.Write(u.File, u.counts.Keep, nil) // which knows what cannot be read
	}
	return r.hints.Publish(u.File, u.hint, u.counts.Keep, nil)
}

// adopt makes the files what the manifest now says.
func (r *recoverer) adopt(files, kept []*unsealedFile, copies []*catalog.File) error {
	order := slices.Clone(r.catalog.Files.Order[:len(r.catalog.Files.Order)-len(files)])
	for _, u := range kept {
		f := u.File
		mapped := f.Segment
		if n := int64(len(f.Memory())); n > 0 && n < f.End.Offset {
			// The file was cut, and is not mapped as far as its records should go.
			again, err := r.catalog.OpenFile(segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind, Sealed: true, End: f.End}, true)
			if err != nil {
				return err
			}
			mapped = again.Segment
		}
		// Behind the sealed end lies only what was copied or never counted.
		if err := f.Handle().Truncate(f.End.Offset); err != nil {
			r.catalog.Message(slog.LevelWarn, "mmapkv: a recovered segment could not be trimmed", "file", segment.FileName(f.ID), "error", err)
		}
		if mapped != f.Segment {
			f.Retire()
			f.Segment = mapped
		}
		f.Active = nil
		order = append(order, f)
	}
	for _, u := range files {
		if !slices.Contains(order, u.File) {
			u.Retire()
		}
	}
	r.catalog.Files.Order = order
	for _, f := range copies {
		r.catalog.Files.AddLocked(f)
		if f.Ended {
			f.Active = nil
		}
	}
	return nil
}

// announceCopies commits, before recovery writes the first copy, that the numbers of
// all records that were found are given, and the ids that the copies may get. Whatever
// a crash then leaves of the copies is known: they count only once they are listed.
func (r *recoverer) announceCopies(files []*unsealedFile) error {
	if !slices.ContainsFunc(files, func(u *unsealedFile) bool { return u.counts.Synced < u.counts.Records }) {
		return nil // there is nothing to copy
	}
	first := r.catalog.Manifest.Current.NextID // nobody else is there yet
	announce := func() error {
		return r.catalog.Edit(true, func(m *segment.Manifest) error {
			m.NextID = min(m.NextID+catalog.MaxUnlisted, segment.MaxNextID)
			return nil
		})
	}
	err := announce()
	if errno.OutOfSpace(err) {
		if err := r.catalog.RemoveOrphans(); err != nil {
			return err
		}
		err = announce()
	}
	if err != nil {
		return err
	}
	// The copies get the next ids, and those that they do not use are still free.
	r.catalog.Manifest.Mu.Lock()
	defer r.catalog.Manifest.Mu.Unlock()
	r.catalog.Manifest.Current.NextID = first
	return nil
}
