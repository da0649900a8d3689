package mmapkv

import (
	"cmp"
	"errors"
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/segment"
)

// groupBytes is how much one group writes at most, in one pwrite.
const groupBytes = 4 << 20

// write is one Put, Delete or Batch on its way to the disk.
type write struct {
	draft   *segment.Draft
	prints  []index.Fingerprint       // of the draft's keys
	deletes bool                      // nothing but deletes: may use the reserve
	revived map[index.Fingerprint]int // the last put of each key, where there are deletes among puts
	long    *longWrite                // the value has a file of its own
	coming  int64                     // bytes that count as taken; see expect
	err     error

	own segment.Draft // what draft points to, but for a Batch
}

var writes = sync.Pool{New: func() any { return new(write) }}

// discard gives w back for reuse.
func (w *write) discard() {
	w.own.Reset()
	w.draft, w.long, w.err, w.deletes, w.revived = nil, nil, nil, false, nil
	w.prints = w.prints[:0]
	if cap(w.prints) > 4096 {
		w.prints = nil
	}
	writes.Put(w)
}

// Put gives the key a value. Both may be reused at once; the value may be one
// that View is showing.
func (s *Store) Put(key, value []byte) error {
	if s.events.watchesSlow() {
		defer s.timed("Put", time.Now())
	}
	return s.put(key, value, 0)
}

// PutWithTTL gives the key a value that is gone after ttl; ErrInvalid when ttl
// is not positive. The wall clock counts, in whole milliseconds, rounded down: where
// it is set back, a value that had expired may be there again, for as long as the
// clock says: until the sweep meets it, some seconds later, and again behind the next
// Open, unless a compaction or a Delete has met it by then. What it had overwritten
// is not.
func (s *Store) PutWithTTL(key, value []byte, ttl time.Duration) error {
	if s.events.watchesSlow() {
		defer s.timed("PutWithTTL", time.Now())
	}
	if err := checkTTL(ttl); err != nil {
		return cmp.Or(s.writable(), err)
	}
	return s.put(key, value, expiryAfter(s.now(), ttl))
}

// expiryAfter is when a time to live ends, in Unix milliseconds.
func expiryAfter(now time.Time, ttl time.Duration) int64 {
	return max(now.Add(ttl).UnixMilli(), 1)
}

func (s *Store) put(key, value []byte, expiry int64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := checkSizes(key, value); err != nil {
		return err
	}
	return s.commitPut(key, value, expiry)
}

// commitPut gives a key a value.
func (s *Store) commitPut(key, value []byte, expiry int64) error {
	if size := segment.RecordSize(len(key), int64(len(value)), 0); size > s.longSize() && size > longMin {
		return s.putLong(key, value, expiry)
	}
	w := writes.Get().(*write)
	defer w.discard()
	w.draft = &w.own
	w.own.Put(key, value, expiry)
	w.prints = append(w.prints, s.hasher.Fingerprint(key))
	return s.do(w)
}

// Delete removes the key's value; an absent key is no error. On a full disk it
// still works, and drops segments of which nothing is needed and hints, which the
// next Open makes again, where it needs their room.
func (s *Store) Delete(key []byte) error {
	if s.events.watchesSlow() {
		defer s.timed("Delete", time.Now())
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := checkSizes(key, nil); err != nil {
		return err
	}
	print := s.hasher.Fingerprint(key)
	l := s.catalog.Set()
	if l == nil {
		return ErrClosed
	}
	if l.Keys.Get(print) == index.NoLocation && !s.catalog.Hides.Load() {
		return nil
	}
	return s.commitDelete(key, print)
}

// commitDelete writes down that a key has no value.
func (s *Store) commitDelete(key []byte, print index.Fingerprint) error {
	w := writes.Get().(*write)
	defer w.discard()
	w.draft, w.deletes = &w.own, true
	w.own.Delete(key)
	w.prints = append(w.prints, print)
	return s.do(w)
}

// Write makes all of the batch's changes or, on an error, none. Of several
// entries for a key the last one counts. An empty batch changes nothing.
func (s *Store) Write(b *Batch) error {
	if s.events.watchesSlow() {
		defer s.timed("Write", time.Now())
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if b.err != nil {
		return b.err
	}
	if b.Len() == 0 {
		return nil
	}
	now := s.now()
	for _, t := range b.ttls {
		b.draft.SetExpiry(t.entry, expiryAfter(now, t.ttl))
	}
	return s.commitBatch(&b.draft)
}

// commitBatch makes all changes of a draft or, on an error, none.
func (s *Store) commitBatch(draft *segment.Draft) error {
	w := writes.Get().(*write)
	defer w.discard()
	if size := draft.EncodedSize(true, true); size > s.longSize() {
		w.expect(s.space, size)
		defer w.arrived(s.space)
	}
	w.draft, w.deletes = draft, true
	deletes := 0
	for i := range draft.Len() {
		w.prints = append(w.prints, s.hasher.Fingerprint(draft.Key(i)))
		if draft.IsDelete(i) {
			deletes++
		}
	}
	w.deletes = deletes == draft.Len()
	if deletes > 0 && !w.deletes {
		w.noteRevived()
	}
	return s.do(w)
}

// expect waits until there is room for a large write.
func (w *write) expect(space *space.Space, size int64) {
	w.coming = size
	space.Expect(size)
}

// arrived ends what expect began. It may be called again.
func (w *write) arrived(space *space.Space) {
	if w.coming != 0 {
		space.Arrived(w.coming)
		w.coming = 0
	}
}

// noteRevived finds the last put of each key. A key that a batch deletes and then puts is
// not absent in between, not even to who looks while the batch is published.
func (w *write) noteRevived() {
	w.revived = make(map[index.Fingerprint]int, len(w.prints))
	for i, print := range w.prints {
		if !w.draft.IsDelete(i) {
			w.revived[print] = i
		}
	}
}

// Sync returns once everything acknowledged before it is on disk, and finds out whether
// MANIFEST, LOCK and the files being written still have their names.
func (s *Store) Sync() error {
	if s.events.watchesSlow() {
		defer s.timed("Sync", time.Now())
	}
	if s.closed.Load() {
		return ErrClosed
	}
	if s.options.ReadOnly {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if s.catalog.LookAtNames(); s.latch.Err() != nil {
		return s.latch.Err()
	}
	return s.syncAll()
}

// syncAll makes durable what was acknowledged.
func (s *Store) syncAll() error {
	if err := s.syncer.SyncTo(s.acknowledged.Load()); err != nil {
		return s.latch.SyncError(err)
	}
	return nil
}

// enter begins a write, which Close waits for and which leave ends, or says why the
// store takes none. Who comes when the store is closed is not counted, lest Close
// wait for those that go on asking.
func (s *Store) enter() error {
	if s.closed.Load() {
		return ErrClosed
	}
	rank.Acquire[rank.InFlight]()
	s.writing.Add(1)
	err := s.writable()
	if err != nil {
		s.leave()
	}
	return err
}

// leave ends what enter began.
func (s *Store) leave() {
	rank.Release[rank.InFlight]()
	if s.writing.Add(-1) == 0 && s.closed.Load() {
		select {
		case s.wroteLast <- struct{}{}:
		default: // a token is there already
		}
	}
}

// awaitWrites returns when no write is in flight. The store is closed by now, so
// that none follows.
func (s *Store) awaitWrites() {
	for s.writing.Load() > 0 {
		<-s.wroteLast
	}
}

// writable says why the store takes no writes, nil when it does.
func (s *Store) writable() error {
	if s.closed.Load() {
		return ErrClosed
	}
	if s.options.ReadOnly {
		return ErrReadOnly
	}
	return s.latch.Err()
}

// do commits a write together with others that come at the same time.
func (s *Store) do(w *write) error {
	stalled, err := s.syncer.Throttle()
	if stalled > 0 {
		s.stalledFor(stalled)
	}
	if err != nil {
		return s.latch.SyncError(err)
	}
	if s.space.IsFull() {
		s.space.AwaitRoom()
	}
	w.err = errUncommitted
	keys := s.catalog.Set().Keys // Close waits for this write
	for _, print := range w.prints[:min(prefetch.Ahead, len(w.prints))] {
		keys.Prefetch(print.Hash)
	}
	members, lead := s.group.Enter(w)
	if lead {
		defer s.group.Leave()
		for len(members) > 0 {
			members = members[s.commitSome(members):]
		}
	}
	return w.err
}

// errUncommitted is the error of a write whose leader did not come to it.
var errUncommitted = errors.New("mmapkv: the write was not committed")

// tail is where the log goes on. Only the leader of the group touches it.
type tail struct {
	file     *catalog.File // the file being written; nil when the next write needs a new one
	seq      uint64        // the highest sequence number ever given
	end      segment.End   // where the log ends: offset in file, last number in the log
	previous segment.End   // where the log ended in the file before this one
	empty    bool          // the file has no record yet
	half     bool          // the file is half full, and maintenance knows
	clean    bool          // the manifest still says that the last close was clean
	told     uint64        // the watermark that the log tells
	toldAt   int64         // and the offset in the file where it last did
	buffer   []byte        // for groups of several writes
}

// commitSome writes as many of the members, in order, as go into the file
// together, at least one, and returns how many it has dealt with. That is none where it
// has ended the tail instead, at the limit for the size of files: the next call begins
// another file.
func (s *Store) commitSome(members []*write) int {
	first := members[0]
	if err := s.beforeWrite(first.deletes); err != nil {
		return fail(members[:1], err) // there may be room for a delete
	}
	if first.long != nil {
		first.err = s.commitLong(first)
		return 1
	}
	if err := s.findRoom(first); err != nil {
		return fail(members[:1], err)
	}
	n, size := s.fit(members)
	for _, w := range members[:n] {
		w.arrived(s.space) // what is reserved counts from here on
	}
	err := s.reserveTail(size, first.deletes && n == 1)
	if err != nil && n > 1 {
		// Not enough for all of them; perhaps for one.
		n, size = 1, first.draft.EncodedSize(true, s.tail.empty)
		err = s.reserveTail(size, first.deletes)
	}
	empty := s.tail.empty
	if s.endAtLimit(err, empty) {
		return 0
	}
	if err != nil {
		return fail(members[:1], s.latch.WriteError(err))
	}
	start := s.tail.end.Offset
	if err := s.appendTail(members[:n]); err != nil {
		if s.endAtLimit(err, empty) {
			return 0
		}
		return fail(members[:n], err)
	}
	s.publish(members[:n], start)
	return n
}

// endAtLimit ends the tail, which may have ended by now, if the error of a write is that
// the file may not become so long: there is a limit for the process, in front of where
// the write ends. The log goes on in another file, where the write has all the room below
// the limit. It had that already if the tail was empty.
func (s *Store) endAtLimit(err error, empty bool) bool {
	if !errors.Is(err, errno.EFBIG) || errors.Is(err, ErrFailed) || empty {
		return false
	}
	if s.tail.file != nil {
		s.endTail()
	}
	return true
}

func fail(members []*write, err error) int {
	for _, w := range members {
		w.err = err
	}
	return len(members)
}

// beforeWrite checks that writing may go on, and takes back the manifest's word
// that the store was closed cleanly before the first record makes it a lie.
func (s *Store) beforeWrite(mayReserve bool) error {
	if s.shut {
		return ErrClosed
	}
	if err := s.latch.Err(); err != nil {
		return err
	}
	if s.tail.seq > catalog.MaxWritableSeq {
		return catalog.ErrUsedUp
	}
	if !s.tail.clean {
		return nil
	}
	err := s.catalog.Edit(mayReserve, func(m *segment.Manifest) error { m.Clean = false; return nil })
	if err == nil {
		s.tail.clean = false
	}
	return err
}

// findRoom makes the tail a file that can take the write.
func (s *Store) findRoom(w *write) error {
	t := &s.tail
	if t.file != nil && s.fitsTail(w.draft.EncodedSize(true, t.empty)) {
		return nil
	}
	size := w.draft.EncodedSize(true, true)
	err := s.rotate(size, w.deletes)
	for w.deletes && errno.DiskFull(err) && s.makeRoom() {
		err = s.rotate(size, true)
	}
	return err
}

func (s *Store) fitsTail(size int64) bool {
	return size <= s.tail.file.Capacity-s.tail.end.Offset
}

// fit says how many members go into the tail file in one write, and how many
// bytes they take together.
func (s *Store) fit(members []*write) (n int, size int64) {
	size = members[0].draft.EncodedSize(true, s.tail.empty)
	for n = 1; n < len(members); n++ {
		w := members[n]
		if w.long != nil {
			break
		}
		more := w.draft.EncodedSize(false, false)
		if size+more > groupBytes || !s.fitsTail(size+more) {
			break
		}
		size += more
	}
	return n, size
}

// reserveTail makes sure that the disk has room for size more bytes of the tail.
// The reserve comes first. Where that leaves too little, what may use it takes the
// blocks that it needs, and no more.
func (s *Store) reserveTail(size int64, mayReserve bool) error {
	t := &s.tail
	end := t.end.Offset + size
	if end <= t.file.Active.Allocated() {
		return nil
	}
	err := s.catalog.Reserve.Hold()
	if !errno.OutOfSpace(err) {
		err = t.file.Active.Reserve(end, catalog.GrowthStep, t.file.Capacity)
	}
	if mayReserve && errno.OutOfSpace(err) {
		err = s.reserveBlocks(end)
	}
	switch {
	case err == nil:
		s.events.spaceBack()
	case errno.OutOfSpace(err):
		s.events.spaceLow(err)
	}
	s.space.CheckRoom()
	return err
}

// reserveBlocks has the disk, which is full, grant the tail the blocks up to end.
func (s *Store) reserveBlocks(end int64) error {
	f := s.tail.file
	most := min(vfs.OnDisk(end), f.Capacity)
	for {
		err := f.Active.Reserve(end, vfs.BlockSize, most)
		if !errno.OutOfSpace(err) {
			return err
		}
		if !s.catalog.Reserve.Give(most-f.Active.Allocated(), s.catalog.Reserve.ManifestRoom()) && !(errno.DiskFull(err) && s.makeRoom()) {
			return err
		}
	}
}

// appendTail gives the members their sequence numbers and writes them, and syncs
// them if the policy says so. On an error nothing of them counts.
func (s *Store) appendTail(members []*write) error {
	t := &s.tail
	p := segment.Placement{Salt: t.file.Salt, Offset: t.end.Offset, Seq: t.seq + 1,
		Watermark: s.syncer.Durable()}
	p.HasWatermark = t.watermarkDue(p.Watermark)
	telling := p
	if t.empty && t.previous != (segment.End{}) {
		p.Previous = &t.previous
	}
	firstSeq := p.Seq
	if !t.empty {
		// Within a file numbers have no gaps, so that a missing record is noticed.
		invariant.Check(p.Seq == t.end.Seq+1, "record %d follows %d in one file", p.Seq, t.end.Seq)
	}
	var data []byte
	if len(members) == 1 {
		data = members[0].draft.Finish(p)
		p.Seq += uint64(members[0].draft.Len())
	} else {
		t.buffer = t.buffer[:0]
		for _, w := range members {
			encoded := w.draft.Finish(p)
			t.buffer = bulk.Append(t.buffer, encoded)
			p = segment.Placement{Salt: p.Salt, Offset: p.Offset + int64(len(encoded)), Seq: p.Seq + uint64(w.draft.Len())}
		}
		data = t.buffer
	}
	before := t.seq
	t.seq = p.Seq - 1
	s.catalog.LastGiven.Store(t.seq)

	if written, err := s.writeTail(data); err != nil {
		if written == 0 {
			t.seq = before // these numbers were never written anywhere
		}
		return err
	}
	if telling.HasWatermark {
		t.told, t.toldAt = telling.Watermark, telling.Offset
	}
	t.end = segment.End{Offset: t.end.Offset + int64(len(data)), Seq: t.seq}
	t.empty = false
	invariant.Check(t.end.Seq >= firstSeq, "a group of no records")
	return nil
}

// watermarkEvery is how far apart in a file, in bytes, the places are that tell the
// watermark even if it is the old one: a disk loses a block at a time, and what
// comes next still tells that the lost was there.
const watermarkEvery = 4 << 10

// watermarkDue says whether the next group tells the watermark. With one in every
// record a small one would be a twentieth larger.
func (t *tail) watermarkDue(watermark uint64) bool {
	return t.empty || watermark != t.told || t.end.Offset-t.toldAt >= watermarkEvery
}

// writeTail appends the bytes to the tail file. Under Always it prepares the sync, and
// syncs them.
func (s *Store) writeTail(data []byte) (written int, err error) {
	active := s.tail.file.Active
	if s.always {
		if err := active.Fill(int64(len(data))); err != nil {
			return 0, s.latch.WriteError(err)
		}
	}
	written, err = active.Append(data)
	if err != nil {
		if written > 0 {
			err = s.cutTail(err)
		}
		return written, s.latch.WriteError(err)
	}
	return written, s.syncTail()
}

// cutTail ends the tail where the log is, and cuts the file there, after a write
// that failed in the middle and left records behind that place: the log goes on in
// another file, whose first record says that this one ends here. That nothing is
// behind it has to be on disk before that record is, and before the writer hears
// that nothing was written: what a power loss brought back would be taken for the
// log's end, and what damage of that record left in the log for a part of it.
func (s *Store) cutTail(cause error) error {
	active := s.tail.file.Active
	err := active.Trim()
	if err == nil {
		err = active.Sync()
	}
	s.endTail()
	if err != nil {
		return s.latch.SyncError(errors.Join(cause, err))
	}
	return cause
}

// endTail makes the tail's file one that gets no more records.
func (s *Store) endTail() {
	s.catalog.Files.Finish(s.tail.file, s.tail.end)
	s.tail.file = nil
}

// syncTail makes what was written to the tail durable, if the policy says that
// nobody may see it before.
func (s *Store) syncTail() error {
	if !s.always {
		return nil
	}
	defer pace.Region("sync").End()
	if err := s.tail.file.Active.Sync(); err != nil {
		return s.latch.SyncError(err)
	}
	s.syncer.MarkDurable(s.tail.seq)
	return nil
}

// publish lets the readers see the members, in order, whose records start at the
// offset in the tail file.
func (s *Store) publish(members []*write, start int64) {
	t := &s.tail
	s.acknowledge()
	t.file.SetLimit(t.end.Offset)
	keys := s.catalog.Set().Keys
	hints := int64(0)
	for _, w := range members {
		for i, print := range w.prints {
			if next := i + prefetch.Ahead; next < len(w.prints) {
				keys.Prefetch(w.prints[next].Hash)
			}
			offset, size := w.draft.Position(i, start)
			keySize := len(w.draft.Key(i))
			hints += segment.HintEntrySize(keySize)
			var old index.Location
			if w.draft.IsDelete(i) {
				t.file.MayShadow.Store(true)
				if w.revived[print] <= i {
					old = keys.Delete(print)
				}
			} else {
				old = keys.Put(print, index.MakeLocation(t.file.Slot, offset, size))
				t.file.AddLive(size, keySize, 1)
				if expiry := w.draft.Expiry(i); expiry != 0 {
					t.file.MayShadow.Store(true)
					s.sweeper.Expires(t.file, offset, t.file.Capacity, expiry)
					s.sweeper.Start()
				}
			}
			s.markDead(old, keySize)
			if i == len(w.prints)-1 {
				start = offset + size // where the next member begins
			}
		}
		w.err = nil
	}
	s.published.Store(t.end.Seq)
	t.file.HintDue.Add(hints)
	s.residency.Grown(t.file, t.end.Offset)
	if !t.half && t.end.Offset > t.file.Capacity/2 {
		t.half = true
		s.wakeMaintenance() // the next file is prepared now
	}
}

// acknowledge says that all that was given a number is written and may be synced.
// It comes before the index: what compaction sees there to have made a record dead
// it must be able to sync.
func (s *Store) acknowledge() {
	s.acknowledged.Store(s.tail.seq)
	if !s.always {
		s.syncer.Written(s.tail.seq)
	}
}

// markDead counts the record at a location that the index no longer points to,
// unless compaction has taken its file out meanwhile.
func (s *Store) markDead(old index.Location, keySize int) {
	if old == index.NoLocation {
		return
	}
	if f := s.catalog.Set().File(old); f != nil {
		f.AddLive(f.RecordSize(old), keySize, -1)
	}
}
