package mmapkv

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"
	"syscall"
	"unsafe"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/residency"
	"github.com/mmapkv/mmapkv/mmapkv/internal/sweep"
	"github.com/mmapkv/mmapkv/segment"
)

// merge rewrites a run: files next to each other in the list, all sealed, of
// which one file takes the place, or none if nothing of them is needed.
//
// Needed are the records that the index points to, and shadows: tombstones, and
// records that have expired, of keys that the index does not have, as long as an
// older file holds the key. Without them that one's record would come back at the
// next Open.
type merge struct {
	store *Store
	pacer *pace.Pacer
	run   []*catalog.File
	older []*catalog.File // all that are older than the run

	made    *catalog.File // what comes of it; nil while that is nothing
	out     vfs.File      // nil until there is something to write
	id      segment.ID
	header  segment.Header
	end     segment.End
	buffer  []byte // what is not yet written
	written int64  // up to which offset the file is
	granted int64  // up to which offset it has room
	hint    *segment.HintBuilder

	shadows map[place]*shadow
	moves   [][]move // movesTogether in each but the last
	in      int64    // bytes read
	cold    bool     // the run is mostly not in memory: neither should be what comes of it
}

// place is where a record of the run lies.
type place struct {
	file   int
	offset int64
}

// shadow is a record of a key that the index does not have.
type shadow struct {
	key []byte
	seq uint64
	at  place
	by  segment.ID // an older file that holds the key; 0: none does
}

// move is an entry of the index that the merge changes.
type move struct {
	hash         uint64
	from         index.Location
	offset, size uint32 // in the new file, in units of segment.Alignment
	check        uint32
	keySize      uint16
}

// movesTogether is how many moves are in one slice: a slice of all would be copied
// again and again as it grows.
const movesTogether = 4 << 10

// note adds a move.
func (m *merge) note(one move) {
	last := len(m.moves) - 1
	if last < 0 || len(m.moves[last]) == movesTogether {
		m.moves, last = append(m.moves, nil), last+1
	}
	m.moves[last] = append(m.moves[last], one)
}

// mergeBuffer is how many bytes are written at a time.
const mergeBuffer = 256 << 10

// damagedRun means that a file of the run cannot be compacted as it is, and says
// which.
type damagedRun struct {
	file *catalog.File
	err  error
}

func (e *damagedRun) Error() string { return e.err.Error() }
func (e *damagedRun) Unwrap() error { return e.err }

// prepare finds out what the run's tombstones are needed for, and leaves out of
// the run its youngest files when what is needed of all would not fit into one
// segment.
func (m *merge) prepare() error {
	for {
		if err := m.findShadows(); err != nil {
			return err
		}
		n := m.fitting()
		if n == len(m.run) {
			return nil
		}
		m.leavePins(n)
		m.run = m.run[:n]
	}
}

// leavePins tells the files of the run that are left out of it, all from the n-th
// on, what of their tombstones is needed. The choice would otherwise take these for
// garbage, and come to the same run again for ever.
func (m *merge) leavePins(n int) {
	pins := make([]map[segment.ID]int64, len(m.run))
	for at, one := range m.shadows {
		if one.by == 0 {
			continue
		}
		if pins[at.file] == nil {
			pins[at.file] = map[segment.ID]int64{}
		}
		pins[at.file][one.by] += segment.RecordSize(len(one.key), 0, segment.Tombstone)
	}
	files := &m.store.catalog.Files
	files.Mu.Lock()
	defer files.Mu.Unlock()
	for i, f := range m.run[n:] {
		f.Pins = pins[n+i]
	}
}

// fitting is how many files of the run fit into one, at least one.
func (m *merge) fitting() int {
	needed := make([]int64, len(m.run)) // bytes, of each file
	for i, f := range m.run {
		needed[i] = f.LiveBytes.Load() + f.Swept.Load().Tombstones()
	}
	for at, one := range m.shadows {
		if one.by != 0 {
			needed[at.file] += segment.RecordSize(len(one.key), 0, segment.Tombstone)
		}
	}
	left := m.store.mergeRoom(len(m.run))
	for i, bytes := range needed {
		if left -= bytes; left < 0 {
			return max(i, 1)
		}
	}
	return len(m.run)
}

// copy reads the run and writes what is needed of it, to a file that is synced
// and has a hint when copy returns. On an error nothing is left of it.
func (m *merge) copy() (f *catalog.File, err error) {
	defer func() {
		if err != nil && m.made != nil {
			if m.out != nil {
				err = errors.Join(err, m.out.Close())
			}
			m.store.catalog.Remove(segment.FileName(m.id))
			m.store.catalog.RemoveHint(m.id)
		}
	}()
	var resident float64
	for i, f := range m.run {
		resident += vfs.Resident(f.Handle(), f.Limit()) / float64(len(m.run))
		if err := m.copyFile(i, f); err != nil {
			return nil, err
		}
	}
	m.cold = resident < 0.5
	if m.out == nil {
		return nil, nil
	}
	return m.finish()
}

// copyFile copies what is needed of one file.
func (m *merge) copyFile(i int, f *catalog.File) error {
	walker := segment.NewWalker(f.Handle(), f.Salt, f.DataStart, f.End.Offset)
	keys, swept := m.store.catalog.Files.Keys, f.Swept.Load()
	var r segment.Record
	for asked := 0; ; asked-- {
		if asked <= 0 {
			asked = m.prefetch(walker)
		}
		offset := walker.Offset()
		err := walker.Next(&r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return unreadable(f, offset, err)
		}
		m.in += r.Size
		here := index.MakeLocation(f.Slot, offset, r.Size)
		shadow := m.shadows[place{i, offset}]
		live := shadow == nil && keys.Holds(m.store.hasher.Hash(r.Key), here)
		wrote := int64(0)
		switch {
		case live:
			if err = walker.Load(&r); err == nil {
				wrote, err = m.write(&r, false)
			}
		case shadow != nil && shadow.by != 0:
			wrote, err = m.write(&r, true)
			if err == nil {
				m.made.Pins[shadow.by] += wrote
			}
		case shadow == nil && r.Flags&segment.Expires != 0 && len(m.older) > 0 && swept.Has(offset):
			wrote, err = m.write(&r, true) // the next compaction asks what needs it
		}
		if err != nil {
			return unreadable(f, offset, err)
		}
		if live {
			print := m.store.hasher.Fingerprint(r.Key)
			m.note(move{hash: print.Hash, check: print.Check, from: here, keySize: uint16(len(r.Key)),
				offset: uint32((m.end.Offset - wrote) / segment.Alignment), size: uint32(wrote / segment.Alignment)})
		}
		if err := m.pacer.Work(r.Size + wrote); err != nil {
			return err
		}
	}
}

// prefetch asks for the memory of what the index knows of the next records, of all
// together, and returns how many those are.
func (m *merge) prefetch(walker *segment.Walker) (n int) {
	var lines [manyAtOnce]unsafe.Pointer
	walker.Peek(manyAtOnce, func(key []byte) {
		candidates := m.store.catalog.Files.Keys.Find(m.store.hasher.Hash(key))
		lines[n] = candidates.Memory()
		n++
	})
	prefetch.Lines(lines[:n])
	return n
}

// unreadable is the error of what could not be copied: a damagedRun, if that is
// why, or if the disk refuses to read it. Where it refused to write, the file that
// was read is none the worse.
func unreadable(f *catalog.File, offset int64, err error) error {
	if errors.Is(err, ErrFailed) {
		return err
	}
	if errors.Is(err, segment.ErrBounds) || errors.Is(err, segment.ErrChecksum) || errors.Is(err, errDamagedValue) {
		return &damagedRun{f, f.Corrupt(offset, err.Error())}
	}
	if errors.Is(err, syscall.EIO) {
		return &damagedRun{f, err}
	}
	return err
}

var errDamagedValue = errors.New(failure.BadValue)

// write appends a record, or a tombstone in its place, to the output.
func (m *merge) write(r *segment.Record, tombstone bool) (size int64, err error) {
	if m.out == nil {
		if err := m.create(); err != nil {
			return 0, err
		}
	}
	at := m.end.Offset
	if at > segment.MaxOffset {
		return 0, errors.New("mmapkv: what is alive in a segment does not fit into one")
	}
	ok, before := true, len(m.buffer)
	if tombstone {
		m.buffer = r.AppendTombstone(m.buffer, m.header.Salt, at)
	} else if m.buffer, ok = r.AppendCopy(m.buffer, m.header.Salt, at); !ok {
		return 0, errDamagedValue
	}
	size = int64(len(m.buffer) - before)
	m.end = segment.End{Offset: at + size, Seq: r.Seq}
	entry := segment.Entry{Offset: at, Size: size, Seq: r.Seq, Key: r.Key}
	if tombstone {
		entry.Flags = segment.Tombstone
	} else if r.Flags&segment.Expires != 0 {
		entry.Flags, entry.Expiry = segment.Expires, r.Expiry
		m.made.ExpiriesOf(m.most()).Add(at, r.Expiry)
	}
	if entry.Flags != 0 {
		m.made.MayShadow.Store(true)
	}
	m.hint.Add(entry)
	if len(m.buffer) >= mergeBuffer {
		return size, m.flush()
	}
	return size, nil
}

// most is how large the output is at most.
func (m *merge) most() int64 {
	bytes := m.header.Size()
	for _, f := range m.run {
		bytes += f.Limit()
	}
	return bytes
}

// create makes the output.
func (m *merge) create() error {
	s := m.store
	m.id = s.catalog.NextID()
	m.header = segment.Header{ID: m.id, Salt: s.random(), Kind: segment.Merged}
	for _, f := range m.run {
		m.header.Replaces = append(m.header.Replaces, f.ID)
	}
	var err error
	if m.out, err = s.catalog.Dir.Create(segment.FileName(m.id)); err != nil {
		return s.latch.WriteError(err)
	}
	m.buffer = m.header.Append(m.buffer)
	m.end.Offset = m.header.Size()
	m.made = &catalog.File{Pins: map[segment.ID]int64{}}
	m.hint = segment.NewHintBuilder()
	m.hint.Pause = m.pacer.Pause
	return nil
}

// mergeSteps is in how many steps room is taken for an output of a segment's size.
const mergeSteps = 64

// flush writes what is buffered, where there is room for it first.
func (m *merge) flush() error {
	s := m.store
	if m.end.Offset > m.granted {
		m.granted = m.end.Offset + s.options.SegmentSize/mergeSteps
		err := m.out.Allocate(m.granted)
		if errno.OutOfSpace(err) {
			m.granted = m.end.Offset
			err = m.out.Allocate(m.granted)
		}
		if err != nil {
			return s.latch.WriteError(err)
		}
	}
	if _, err := vfs.WriteFull(m.out, m.buffer, m.written); err != nil {
		return s.latch.WriteError(err)
	}
	vfs.Flush(m.out, m.written, int64(len(m.buffer)))
	m.written += int64(len(m.buffer))
	m.buffer = m.buffer[:0]
	return nil
}

// finish makes the output a sealed file, durable, with a hint, and mapped.
func (m *merge) finish() (*catalog.File, error) {
	s := m.store
	if err := m.flush(); err != nil {
		return nil, err
	}
	if err := m.out.Truncate(m.end.Offset); err != nil {
		return nil, s.latch.WriteError(err)
	}
	if err := m.out.Datasync(); err != nil {
		return nil, s.latch.SyncError(err)
	}
	// The log was here at the end of the run, whatever of it is left.
	m.end.Seq = m.run[len(m.run)-1].End.Seq
	f := m.made
	f.DataStart, f.Capacity, f.End, f.Ended = m.header.Size(), s.options.SegmentSize, m.end, true
	hint := m.hint.Encode(m.id, m.header.Salt, m.end, s.syncer.Durable())
	f.HintBytes.Store(segment.HintSize(hint))
	// It syncs the directory, and so the name of the new file too.
	if err := fsync.Publish(s.catalog.Dir, segment.HintName(m.id), hint, m.pacer.Pause); err != nil {
		return nil, s.latch.WriteError(err)
	}
	if m.cold {
		vfs.Evict(m.out)
	}
	out := m.out
	m.out = nil // OpenSegment closes it when it fails
	var err error
	if f.Segment, err = segment.OpenSegment(out, m.header, m.end.Offset); err != nil {
		return nil, err
	}
	f.SetLimit(m.end.Offset)
	if !m.cold {
		residency.PrefaultAll(f)
	}
	f.Cold.Store(m.cold)
	s.catalog.LockNew(f)
	return f, nil
}

// findShadows finds the run's tombstones and expired records of keys that the
// index does not have, or not any more, and which of them an older file needs.
func (m *merge) findShadows() error {
	now := m.store.now().UnixMilli()
	var all []*shadow
	for i, f := range m.run {
		if !f.MayShadow.Load() {
			continue
		}
		found, err := m.shadowsOf(i, f, now)
		if err != nil {
			return unreadable(f, f.DataStart, err)
		}
		all = append(all, found...)
		if err := m.pacer.Work(f.HintBytes.Load()); err != nil {
			return err
		}
	}
	m.shadows = make(map[place]*shadow, len(all))
	for _, one := range all {
		m.shadows[one.at] = one
	}
	slices.SortFunc(all, func(x, y *shadow) int {
		return cmp.Or(bytes.Compare(x.key, y.key), cmp.Compare(y.seq, x.seq))
	})
	// Of several for a key the newest does for all.
	all = slices.CompactFunc(all, func(x, y *shadow) bool { return bytes.Equal(x.key, y.key) })
	for i := len(m.older) - 1; i >= 0 && len(all) > 0; i-- {
		var err error
		if all, err = m.pin(all, m.older[i]); err != nil {
			return err
		}
	}
	return nil
}

// shadowsOf finds those of the i-th file of the run.
func (m *merge) shadowsOf(i int, f *catalog.File, now int64) (found []*shadow, err error) {
	s := m.store
	err = m.store.hints.With(f, m.pacer.Pause, func(hint *hints.Hint) error {
		found = nil
		for e, err := range hint.Entries() {
			if err != nil {
				return err
			}
			if e.Flags&(segment.Tombstone|segment.Expires) == 0 {
				continue
			}
			print, here := s.hasher.Fingerprint(e.Key), index.MakeLocation(f.Slot, e.Offset, e.Size)
			if e.Flags&segment.Expires != 0 && e.Expiry <= now {
				s.sweeper.Expire(f, &sweep.Record{Fp: print, Location: here, Size: e.Size, KeySize: len(e.Key)})
			}
			if s.catalog.Files.Keys.Get(print) != index.NoLocation {
				continue
			}
			// Deleted; or swept out, or expired when the store was opened, whatever the clock
			// says now.
			found = append(found, &shadow{key: bytes.Clone(e.Key), seq: e.Seq, at: place{i, e.Offset}})
		}
		return nil
	})
	return found, err
}

// pin marks the shadows, sorted by key, that the older file needs, and returns the
// others. A file with ranges that cannot be read may hold any key.
func (m *merge) pin(shadows []*shadow, f *catalog.File) (rest []*shadow, err error) {
	damaged := false
	err = m.store.hints.With(f, m.pacer.Pause, func(hint *hints.Hint) error {
		rest, damaged = nil, len(hint.Damages()) > 0
		left := shadows
		for e, err := range hint.Entries() {
			if err != nil {
				return err
			}
			for len(left) > 0 && bytes.Compare(left[0].key, e.Key) < 0 {
				rest, left = append(rest, left[0]), left[1:]
			}
			if len(left) == 0 {
				break
			}
			if bytes.Equal(left[0].key, e.Key) {
				left[0].by = f.ID
				left = left[1:]
			}
		}
		rest = append(rest, left...)
		return nil
	})
	if errors.Is(err, ErrFailed) {
		return nil, err
	}
	if err != nil || damaged {
		for _, one := range shadows {
			one.by = f.ID
		}
		return nil, nil
	}
	return rest, m.pacer.Work(f.HintBytes.Load())
}
