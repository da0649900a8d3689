package mmapkv

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/segment"
)

// scanned is one record that the scan of an unsealed file found.
type scanned struct {
	offset, size int64
	seq          uint64
	batchGoesOn  bool
	valueOK      bool
}

func (r scanned) end() int64 { return r.offset + r.size }

// records are those of a file, in order. They are millions at times, and in chunks:
// one slice that grows would copy them again and again.
type records struct {
	chunks [][]scanned
	count  int
}

const recordsInChunk = 16 << 10

func (r *records) add(one scanned) {
	if r.count%recordsInChunk == 0 {
		r.chunks = append(r.chunks, make([]scanned, 0, min(r.count, recordsInChunk)))
		prefetch.Pages(r.chunks[len(r.chunks)-1])
	}
	last := &r.chunks[len(r.chunks)-1]
	*last = append(*last, one)
	r.count++
}

func (r *records) at(i int) scanned { return r.chunks[i/recordsInChunk][i%recordsInChunk] }

// unsealedFile is what the scan found in one file, in order, and what recovery
// decides about it.
type unsealedFile struct {
	*file
	size     int64
	records  records
	hint     *segment.HintBuilder // of the records
	previous segment.End          // what the first record says of the file before
	hasFirst bool                 // the record at the very start is readable, so previous is known

	accepted int         // how many of the records count
	damaged  bool        // something between them that counts cannot be read, or one of them
	end      segment.End // behind the last one that counts, and behind damage
	synced   int         // how many of them are known to be on disk
	keep     segment.End // behind the last of those, and behind damage
}

// recoverLog decides, after anything but a clean close, how far the log goes in
// the unsealed files, and makes that durable before anybody sees it.
//
// The log goes on from record to record without a gap in their numbers, and from
// file to file where the first record of the next one says. Where a record is
// missing, the watermark tells what that means: if it was known to be on disk,
// this is damage, to be reported and passed over; if not, the log ends there, and
// nothing behind counts, now or ever. Records beyond the watermark may be in the
// page cache only, where a failed sync can have left them with nothing on disk
// behind them; so they are copied to a new file and that is synced.
func (s *Store) recoverLog() error {
	var files []*unsealedFile
	var last *file // the sealed file in front of the unsealed ones
	for _, f := range s.files.order {
		if f.active == nil {
			last = f
			continue
		}
		u, err := s.scanFile(f)
		if err != nil {
			return err
		}
		files = append(files, u)
	}
	start := segment.End{Seq: s.manifest.current.SealedSeq}
	if last != nil {
		start.Offset = last.end.Offset
	}
	s.walkLog(files, start)
	if s.options.ReadOnly {
		for _, u := range files {
			s.settle(u, u.end)
			if !u.damaged {
				u.built = u.hint
			}
		}
		return nil
	}
	return s.commitRecovery(files, start)
}

// scanFile reads all of an unsealed file and finds every record that validates,
// and the highest watermark that any of them carries.
func (s *Store) scanFile(f *file) (*unsealedFile, error) {
	size, err := f.File().Size()
	if err != nil {
		return nil, err
	}
	u := &unsealedFile{file: f, size: size, hint: segment.NewHintBuilder()}
	scanner := segment.NewScanner(f.File(), f.Salt, f.dataStart, size)
	goOn := scanner.Next
	next := goOn
	for {
		e, err := next()
		switch {
		case err == io.EOF:
			s.recovery.RecordsScanned += u.records.count
			return u, nil
		case errors.Is(err, segment.ErrBadRecord):
			var atLeast uint64 = 1
			if n := u.records.count; n > 0 {
				atLeast = u.records.at(n-1).seq + 1
			}
			next = func() (segment.Entry, error) { return scanner.Resync(atLeast) }
			continue
		case err != nil:
			return nil, unusable(segment.FileName(f.ID), fmt.Errorf("scanning it: %w", err))
		}
		next = goOn
		if !credible(e, s.manifest.current.LastSeq) {
			continue
		}
		if e.Offset == f.dataStart {
			u.hasFirst, u.previous = true, e.Previous
		}
		if e.Flags&segment.HasWatermark != 0 {
			s.syncer.MarkDurable(e.Watermark)
		}
		s.lastGiven.Store(max(s.lastGiven.Load(), e.Seq))
		u.records.add(scanned{
			offset: e.Offset, size: e.Size, seq: e.Seq, valueOK: e.ValueOK,
			batchGoesOn: e.Flags&segment.BatchGoesOn != 0,
		})
		u.hint.Add(e)
	}
}

// mostUntold is more than the sequence numbers that a store can give from one edit of
// the manifest to the next, in the two files that it may have in hand or in one batch.
const mostUntold = 1 << 32

// credible says whether a store whose manifest knows of numbers up to lastSeq can have
// written what a record tells of the log. What recovery believes goes into the
// manifest, and the numbers go on from there.
func credible(e segment.Entry, lastSeq uint64) bool {
	return e.Seq <= min(lastSeq+mostUntold, segment.MaxSeq) && e.Watermark < e.Seq && e.Previous.Seq < e.Seq &&
		e.Previous.Offset >= 0 && e.Previous.Offset <= segment.MaxFileSize && e.Previous.Offset%segment.Alignment == 0
}

// walkLog follows the log through the unsealed files, from the end of the sealed
// ones, and decides what counts.
func (s *Store) walkLog(files []*unsealedFile, start segment.End) {
	reached := start // where the log is, in the file before
	goesOn := true
	for i, u := range files {
		u.end = segment.End{Offset: u.dataStart, Seq: reached.Seq}
		if !goesOn {
			continue
		}
		var next *unsealedFile
		if i+1 < len(files) {
			next = files[i+1]
		}
		goesOn = s.walkFile(u, next)
		reached = u.end
	}
	s.cutOpenBatch(files)
	for _, u := range files {
		s.divide(u)
	}
}

// walkFile follows the log through one file and says whether it goes on in the
// next one.
func (s *Store) walkFile(u *unsealedFile, next *unsealedFile) bool {
	watermark := s.syncer.Durable()
	for u.accepted < u.records.count {
		r := u.records.at(u.accepted)
		if r.offset != u.end.Offset || u.accepted > 0 && r.seq != u.end.Seq+1 {
			// Something is missing in front of r.
			if endsHere(u, next) {
				return true
			}
			if r.seq == 0 || r.seq-1 > watermark {
				break
			}
			lose(u, r.offset)
		}
		if !r.valueOK {
			if r.seq > watermark {
				return false
			}
			u.damaged = true
			s.noteDamage(segment.FileName(u.ID), r.offset, "the value does not match its checksum")
		}
		u.accepted++
		u.end = segment.End{Offset: r.end(), Seq: r.seq}
	}
	if next == nil || endsHere(u, next) {
		if next == nil && watermark > u.end.Seq {
			lose(u, u.size)
			u.end.Seq = watermark
		}
		return true
	}
	// The file does not reach the end that the next one names. If all of that was
	// known to be on disk it is damage; otherwise the log ends.
	if next.hasFirst && next.previous.Offset > u.end.Offset && next.previous.Seq <= watermark {
		lose(u, min(next.previous.Offset, u.size))
		u.end = next.previous
		return true
	}
	if watermark > u.end.Seq {
		lose(u, u.size)
		if next.records.count == 0 {
			u.end.Seq = watermark
		}
		return !next.hasFirst || next.previous.Seq <= watermark
	}
	return next.records.count == 0
}

// endsHere says whether the next file's first record names the place that the
// walk has reached as the end of this file.
func endsHere(u, next *unsealedFile) bool {
	return next != nil && next.hasFirst && next.previous == u.end
}

// lose makes the range from where the log is to the offset damage, to which the
// hint of the file will testify. A file may be cut anywhere, even where a record
// ends: so that something testifies, the range is never empty, and so that all of
// it is damage, it ends where the file does.
func lose(u *unsealedFile, to int64) {
	whole := to &^ (segment.Alignment - 1)
	u.end.Offset = max(whole, u.end.Offset+segment.Alignment)
	u.damaged = true
}

// cutOpenBatch takes back the records of a batch whose last ones are missing, at
// the end of the log. What is known to be on disk stays: there damage took them.
func (s *Store) cutOpenBatch(files []*unsealedFile) {
	for i := len(files) - 1; i >= 0; i-- {
		u := files[i]
		if u.accepted == 0 {
			continue
		}
		for u.accepted > 0 {
			last := u.records.at(u.accepted - 1)
			if !last.batchGoesOn || last.seq <= s.syncer.Durable() {
				return
			}
			u.accepted--
			u.end = segment.End{Offset: last.offset, Seq: last.seq - 1}
		}
		return
	}
}

// divide finds which of the records that count are known to be on disk.
func (s *Store) divide(u *unsealedFile) {
	u.synced = u.accepted
	u.keep = u.end
	for u.synced > 0 && u.records.at(u.synced-1).seq > s.syncer.Durable() {
		u.synced--
		first := u.records.at(u.synced)
		u.keep = segment.End{Offset: first.offset, Seq: first.seq - 1}
	}
	s.recovery.RecordsRecovered += u.accepted - u.synced
	if n := u.records.count; n > u.accepted {
		s.recovery.BytesDiscarded += u.records.at(n-1).end() - u.end.Offset
	}
}

// settle makes a file end where recovery says.
func (s *Store) settle(u *unsealedFile, end segment.End) {
	u.file.end, u.file.ended = end, true
	u.SetLimit(end.Offset)
}

// commitRecovery copies what is not known to be on disk, and commits one manifest
// that seals the old files at what is, and names the new ones. Before that commit
// nothing has changed but what the manifest knows of numbers and ids; a crash during
// recovery is as good as one before it.
func (s *Store) commitRecovery(files []*unsealedFile, start segment.End) error {
	reached := start
	var kept []*unsealedFile
	for _, u := range files {
		if u.keep.Offset > u.dataStart {
			reached = u.keep
			kept = append(kept, u)
		}
	}
	if err := s.announceCopies(files); err != nil {
		return err
	}
	copies, err := s.copyUnsynced(files, reached)
	if isFull(err) {
		// What a crash left unlisted, such as half of a long value, may fill the disk.
		if err := s.removeOrphans(); err != nil {
			return err
		}
		copies, err = s.copyUnsynced(files, reached)
	}
	for isFull(err) && (s.reserve.give(newFileRoom, s.reserve.manifestRoom()/2) || s.reserve.giveFile(0)) {
		copies, err = s.copyUnsynced(files, reached)
	}
	if err != nil {
		return err
	}
	for _, u := range files {
		s.settle(u, u.keep)
	}
	if n := len(copies); n > 0 {
		reached = copies[n-1].end
	}
	s.syncer.MarkDurable(reached.Seq)
	if err = s.sealRecovered(files, kept, copies); err != nil {
		for _, f := range copies {
			f.Retire() // the manifest may name it, or not
		}
	}
	return err
}

// copyUnsynced copies the records that count and are not known to be on disk to
// new files, behind the place that the log has reached, and makes them durable.
func (s *Store) copyUnsynced(files []*unsealedFile, reached segment.End) (_ []*file, err error) {
	c := copier{store: s, previous: reached}
	defer func() {
		if err != nil {
			for _, f := range c.files {
				s.removeFile(f)
			}
		}
	}()
	for _, u := range files {
		u.SetLimit(u.end.Offset)
		if err := c.copyRecords(u); err != nil {
			return nil, err
		}
	}
	return c.finish()
}

// sealRecovered writes the hints and the manifest of what recovery has made
// durable, and takes the rest out.
func (s *Store) sealRecovered(files, kept []*unsealedFile, copies []*file) error {
	for _, u := range kept {
		if err := s.writeRecoveredHint(u); err != nil {
			return err
		}
	}
	for _, f := range copies {
		if err := s.writeHint(f, f.end); err != nil {
			return err
		}
	}
	var infos []segment.SegmentInfo
	for _, u := range kept {
		f := u.file
		infos = append(infos, segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind, Sealed: true, End: f.end})
	}
	for i, f := range copies {
		// The log can go on in the last one, which is whole and synced, if the
		// numbers go on there too.
		goesOn := i == len(copies)-1 && f.end.Seq == s.lastGiven.Load() && f.end.Offset < f.capacity/2
		f.ended = !goesOn
		infos = append(infos, segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind, Sealed: !goesOn, End: f.end})
	}
	err := s.edit(true, func(m *segment.Manifest) error {
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
	return s.adopt(files, kept, copies)
}

// writeRecoveredHint writes the hint of a file that the scan has read just now.
func (s *Store) writeRecoveredHint(u *unsealedFile) error {
	if u.damaged {
		return s.writeHint(u.file, u.keep) // which knows what cannot be read
	}
	return s.publishBuilt(u.file, u.hint, u.keep)
}

// adopt makes the files what the manifest now says.
func (s *Store) adopt(files, kept []*unsealedFile, copies []*file) error {
	order := slices.Clone(s.files.order[:len(s.files.order)-len(files)])
	for _, u := range kept {
		f := u.file
		mapped := f.Segment
		if n := int64(len(f.Memory())); n > 0 && n < f.end.Offset {
			// The file was cut, and is not mapped as far as its records should go.
			again, err := s.openFile(segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind, Sealed: true, End: f.end}, true)
			if err != nil {
				return err
			}
			mapped = again.Segment
		}
		// Behind the sealed end lies only what was copied or never counted.
		if err := f.File().Truncate(f.end.Offset); err != nil {
			s.events.message(slog.LevelWarn, "mmapkv: a recovered segment could not be trimmed", "file", segment.FileName(f.ID), "error", err)
		}
		if mapped != f.Segment {
			f.Retire()
			f.Segment = mapped
		}
		f.active = nil
		order = append(order, f)
	}
	for _, u := range files {
		if !slices.Contains(order, u.file) {
			u.Retire()
		}
	}
	s.files.order = order
	for _, f := range copies {
		s.files.addLocked(f)
		if f.ended {
			f.active = nil
		}
	}
	return nil
}

// copier writes records, with their sequence numbers, to new files.
type copier struct {
	store    *Store
	files    []*file
	end      segment.End // in the last file
	previous segment.End // where the file before the last one ends
	draft    segment.Draft
	first    uint64 // sequence number of the draft's first record
	walker   *segment.Walker
	pending  []byte // of the last file, not written yet
}

// copyBytes is how much recovery copies with one write, more or less.
const copyBytes = 1 << 20

// copyRecords copies the records of one file that count and are not known to be on
// disk, batch by batch.
func (c *copier) copyRecords(u *unsealedFile) error {
	for i := u.synced; i < u.accepted; i++ {
		r := u.records.at(i)
		if i == u.synced || c.walker.Offset() != r.offset {
			c.walker = segment.NewWalker(u.File(), u.Salt, r.offset, u.end.Offset)
		}
		if err := c.take(u, r); err != nil {
			return err
		}
		if r.batchGoesOn {
			continue
		}
		if err := c.flush(); err != nil {
			return err
		}
	}
	return nil
}

// take reads a record, checks it once more, and adds it to the draft: what has
// rotted since the scan must not get a fresh checksum.
func (c *copier) take(u *unsealedFile, r scanned) error {
	var record segment.Record
	err := c.walker.Next(&record)
	if err == nil {
		err = c.walker.Load(&record)
	}
	if err != nil {
		return u.corrupt(r.offset, err.Error())
	}
	if !record.ValueOK() {
		return u.corrupt(r.offset, "the value does not match its checksum")
	}
	if c.draft.Len() == 0 {
		c.first = r.seq
	}
	if record.Flags&segment.Tombstone != 0 {
		c.draft.Delete(record.Key)
	} else {
		c.draft.Put(record.Key, record.Value, record.Expiry)
	}
	return nil
}

// flush adds the draft to what is written, to a new file when the last one has no
// room, or where numbers are missing, as they are behind a write that failed: within
// a file that means damage.
func (c *copier) flush() error {
	s := c.store
	size := c.draft.EncodedSize(true, true)
	if n := len(c.files); n == 0 || size > c.files[n-1].capacity-c.end.Offset || c.first != c.end.Seq+1 {
		if err := c.write(); err != nil {
			return err
		}
		if n > 0 {
			c.previous = c.end
		}
		f, err := s.createFile(max(s.options.SegmentSize, segment.HeaderSize+size))
		if err != nil {
			return s.writeFailed(err)
		}
		c.files = append(c.files, f)
		c.end = segment.End{Offset: f.dataStart}
	}
	f := c.files[len(c.files)-1]
	p := segment.Placement{Salt: f.Salt, Offset: c.end.Offset, Seq: c.first, Watermark: s.syncer.Durable()}
	p.HasWatermark = c.end.Offset == f.dataStart // the manifest tells the rest
	if p.HasWatermark && c.previous != (segment.End{}) {
		p.Previous = &c.previous
	}
	data := c.draft.Finish(p)
	c.pending = bulk.Append(c.pending, data)
	c.end = segment.End{Offset: c.end.Offset + int64(len(data)), Seq: c.first + uint64(c.draft.Len()) - 1}
	f.end = c.end
	c.draft.Reset()
	if len(c.pending) < copyBytes {
		return nil
	}
	return c.write()
}

// write writes what is pending.
func (c *copier) write() error {
	if len(c.pending) == 0 {
		return nil
	}
	f := c.files[len(c.files)-1]
	if err := f.active.Reserve(c.end.Offset, growthStep, f.capacity); err != nil {
		return c.store.writeFailed(err)
	}
	if _, err := f.active.Append(c.pending); err != nil {
		return c.store.writeFailed(err)
	}
	c.pending = c.pending[:0]
	f.SetLimit(c.end.Offset)
	return nil
}

// finish makes the new files durable.
func (c *copier) finish() ([]*file, error) {
	if err := c.write(); err != nil {
		return nil, err
	}
	for _, f := range c.files {
		if err := f.active.Sync(); err != nil {
			return nil, c.store.syncFailed(err)
		}
	}
	if len(c.files) > 0 {
		if err := c.store.dir.Sync(); err != nil {
			return nil, c.store.syncFailed(err)
		}
	}
	return c.files, nil
}
