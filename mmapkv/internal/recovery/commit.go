package recovery

import (
	"log/slog"
	"slices"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
	"github.com/mmapkv/mmapkv/segment"
)

// commitRecovery copies what is not known to be on disk. Then it commits a manifest that seals the
// old files at the end of what is, and lists the new ones. Before that commit the files of the log
// are as the crash left them, so a crash during recovery does no more harm.
func (r *recoverer) commitRecovery(files []*unsealedFile, start segment.End) error {
	reached := start
	var kept []*unsealedFile
	for _, u := range files {
		if u.counts.Keep.Offset > u.file.DataStart {
			reached = u.counts.Keep
			kept = append(kept, u)
		}
	}
	if err := r.announceCopies(files); err != nil {
		return err
	}
	copies, err := r.copyUnsynced(files, reached)
	if errno.OutOfSpace(err) {
		// Files that a crash left unlisted, such as half of a long value, may fill the disk.
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
			f.Retire() // the manifest may name it or not
		}
	}
	return err
}

// announceCopies commits, before recovery writes the first copy, that the numbers of all records
// found are taken, as every edit does, and which ids the copies may get. If a crash then leaves
// some of the copies, the next Open knows them: they count only once they are listed.
func (r *recoverer) announceCopies(files []*unsealedFile) error {
	if !slices.ContainsFunc(files, func(u *unsealedFile) bool { return u.counts.Synced < u.counts.Records }) {
		return nil // there is nothing to copy
	}
	first := r.catalog.Manifest.Current.NextID // nobody else has the store yet
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
	// The copies get the next ids. Those that they do not use stay free: the next edit takes
	// NextID back on disk too, when the copies are listed or gone.
	r.catalog.Manifest.Mu.Lock()
	defer r.catalog.Manifest.Mu.Unlock()
	r.catalog.Manifest.Current.NextID = first
	return nil
}

// copyUnsynced copies the records that count and are not known to be on disk to new files, after
// the place that the log has reached, and makes them durable. After an error nothing is left of
// the new files.
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
		u.file.SetLimit(u.counts.End.Offset)
		if err := c.copyRecords(u); err != nil {
			return nil, err
		}
	}
	return c.finish()
}

// sealRecovered writes the hints of damaged files, commits the manifest, and takes over its list.
func (r *recoverer) sealRecovered(files, kept []*unsealedFile, copies []*catalog.File) error {
	for _, u := range kept {
		if u.counts.Damaged {
			// Write finds the damaged ranges.
			if err := r.hints.Write(u.file, u.counts.Keep, nil); err != nil {
				return err
			}
		}
	}
	var infos []segment.SegmentInfo
	for _, u := range kept {
		f := u.file
		infos = append(infos, f.Info(true))
	}
	for i, f := range copies {
		// The log can continue in the last copy, which is whole and synced, if the sequence
		// numbers continue there too.
		continues := i == len(copies)-1 && f.End.Seq == r.catalog.LastGiven.Load() && f.End.Offset < f.Capacity/2
		f.Ended = !continues
		infos = append(infos, f.Info(!continues))
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

// adopt makes the files what the manifest now says. It may write Files.Order without the mutex: Open
// is still alone with the list. The workers of package load, which run beside recovery, were given
// their files before, and do not look at it.
func (r *recoverer) adopt(files, kept []*unsealedFile, copies []*catalog.File) error {
	order := slices.Clone(r.catalog.Files.Order[:len(r.catalog.Files.Order)-len(files)])
	for _, u := range kept {
		f := u.file
		mapped := f.Segment
		if n := int64(len(f.Memory())); n > 0 && n < f.End.Offset {
			// The file had been cut, and is not mapped as far as its records go.
			again, err := r.catalog.OpenFile(f.Info(true), true)
			if err != nil {
				return err
			}
			mapped = again.Segment
		}
		// Past the sealed end there are only records that were copied or never counted.
		if err := f.Handle().Truncate(f.End.Offset); err != nil {
			r.catalog.Message(slog.LevelWarn, "mmapkv: a recovered segment could not be trimmed", "file", segment.FileName(f.ID), "error", err)
		}
		if mapped != f.Segment {
			f.Retire()
			f.Segment = mapped
		}
		f.Active = nil
		u.handOver()
		r.hints.RemoveReplaced(f) // it has its hint if it was damaged
		order = append(order, f)
	}
	for _, u := range files {
		if !slices.Contains(order, u.file) {
			u.partials.Close()
			u.file.Retire()
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
