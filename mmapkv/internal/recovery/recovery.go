// Package recovery answers how far the log goes after anything but a clean close, and makes that
// part of it durable.
//
// What must hold:
//
//   - Nobody sees a record before it is known to be on disk. The exception is a read-only store,
//     which can write nothing: until a writer has recovered the log, it shows what counts, even
//     if a power loss could still take it.
//   - Until it commits the manifest that lists its copies, recovery leaves the files of the log as
//     they are. Before that it only writes files that are not listed, and the hints of damaged
//     ones, and commits the watermark and which numbers and ids are taken. On a full disk it also removes files that
//     are not listed, and gives away the reserve. So a crash during recovery leaves the store as
//     recoverable as the crash before it.
//   - A record that rotted since the scan never gets a fresh checksum.
//   - What a partial hint covers was on disk, and is not read again. So recovery does not notice
//     damage there. Whoever reads such a record does, and Verify.
//
// Recovery gives what it has found to package load, which fills the index with it. The hints of the
// recovered files come later, from the background. If a crash prevents that, the next Open reads the
// records once more.
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
	// Scanned counts the records read in unsealed files.
	Scanned int
	// Recovered counts those of them that were not known to be on disk, and now are.
	Recovered int
	// Discarded is the size of the torn end, in bytes.
	Discarded int64
}

// recoverer is one recovery.
type recoverer struct {
	catalog *catalog.Catalog
	hints   *hints.Hints
	stats   Stats
}

// Run finds how far the log goes in the unsealed files of a catalog, and makes that durable. Open
// calls it before anybody can read the files, unless the manifest is clean. On a read-only store
// Run changes nothing on disk. An error of Run fails Open.
func Run(c *catalog.Catalog, h *hints.Hints) (Stats, error) {
	r := recoverer{catalog: c, hints: h}
	err := r.run()
	return r.stats, err
}

// unsealedFile is an unsealed file with what was found in it, and what of that counts.
type unsealedFile struct {
	file     *catalog.File
	partials *hints.Partials      // what they know is not scanned
	found    *replay.Scanned      // behind that
	hint     *segment.HintBuilder // of the records found
	counts   replay.Part
}

// handOver gives what was found in the file to package load, unless that lacks records that damage
// took.
func (u *unsealedFile) handOver() {
	if u.counts.Damaged {
		u.partials.Close()
		return
	}
	u.file.Recovered = &catalog.Recovered{Close: u.partials.Close, Scanned: u.hint}
	for _, one := range u.partials.Chain {
		u.file.Recovered.Tables = append(u.file.Recovered.Tables, one.Table)
	}
}

// run recovers the log. Package replay decides which records count. Records past the watermark
// may be in the page cache only, since a failed sync can have left nothing of them on disk. So
// recovery copies them to a new file, and syncs that.
func (r *recoverer) run() (err error) {
	var files []*unsealedFile
	defer func() {
		if err != nil {
			for _, u := range files {
				u.partials.Close()
			}
		}
	}()
	var last *catalog.File // the sealed file before the unsealed ones
	for _, f := range r.catalog.Files.Order {
		if f.Active == nil {
			last = f
			continue
		}
		u := &unsealedFile{file: f, hint: segment.NewHintBuilder()}
		if err := r.scanUnsealed(u); err != nil {
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
			u.handOver()
		}
		return nil
	}
	return r.commitRecovery(files, start)
}

// scanUnsealed scans what the partial hints of a file do not know. It notes the highest sequence
// number and watermark that it learns of.
func (r *recoverer) scanUnsealed(u *unsealedFile) error {
	f := u.file
	size, err := f.Handle().Size()
	if err != nil {
		return err
	}
	known := replay.File{DataStart: f.DataStart, Size: size}
	lastSeq := r.catalog.Manifest.Current.LastSeq
	if u.partials, err = r.hints.OpenPartials(f, size, nil); err != nil {
		return fmt.Errorf("mmapkv: the partial hints of %s: %w", segment.FileName(f.ID), err)
	}
	if n := len(u.partials.Chain); n > 0 {
		first := u.partials.Chain[0]
		known.Known, known.HasFirst, known.Previous = u.partials.End(), true, first.Previous
		known.KnownRecords = int(known.Known.Seq - first.From.Seq)
	}
	r.catalog.LastGiven.Store(max(r.catalog.LastGiven.Load(), u.partials.Synced))
	u.found, err = replay.ScanFile(f.Handle(), f.Salt, known, lastSeq, func(e segment.Entry) {
		r.catalog.LastGiven.Store(max(r.catalog.LastGiven.Load(), e.Seq))
		u.hint.Add(e)
	})
	if err != nil {
		u.partials.Close()
		return failure.Unusable(segment.FileName(f.ID), fmt.Errorf("scanning it: %w", err))
	}
	r.catalog.Syncer.MarkDurable(max(u.found.Watermark, u.partials.Synced))
	r.stats.Scanned += u.found.Count()
	return nil
}

// decide asks package replay which records of the files count.
func (r *recoverer) decide(files []*unsealedFile, sealedSeq uint64) {
	found := make([]*replay.Scanned, len(files))
	for i, u := range files {
		found[i] = u.found
	}
	parts := replay.Decide(found, sealedSeq, r.catalog.Syncer.Durable(), func(i int, one replay.Record) {
		r.catalog.NoteDamage(failure.Damage{File: segment.FileName(files[i].file.ID), Offset: one.Offset, Reason: failure.BadValue})
	})
	for i, part := range parts {
		files[i].counts = part
		r.stats.Recovered += part.Records - part.Synced
		r.stats.Discarded += part.Discarded
	}
}

// settle makes a file end where recovery says.
func (r *recoverer) settle(u *unsealedFile, end segment.End) {
	u.file.End, u.file.Ended = end, true
	u.file.SetLimit(end.Offset)
}
