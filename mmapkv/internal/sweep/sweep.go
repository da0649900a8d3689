package sweep

import (
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/expiry"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// sweepBlocks is how many blocks next to each other are read at once.
const sweepBlocks = pace.LookBytes / expiry.Block

// sweep is one sweep through what is due by now.
type sweep struct {
	sweeper *Sweeper
	pacer   *pace.Pacer
	now     int64 // Unix milliseconds
	heads   segment.HeadWalker

	expired []Record // of the blocks in hand
}

// Record is a record of a file that has expired.
type Record struct {
	Fp       index.Fingerprint
	Location index.Location
	Size     int64
	KeySize  int
}

// file sweeps what is due of a file.
func (w *sweep) file(f *catalog.File, t *expiry.Table) (err error) {
	t.First.Store(expiry.Never)
	next := int64(expiry.Never)
	for i := range t.Firsts {
		if err == nil && t.Firsts[i].Load() <= w.now {
			err = w.chunk(f, t, int64(i))
		}
		next = min(next, t.Firsts[i].Load())
	}
	expiry.Lower(&t.First, next)
	return err
}

// chunk sweeps what is due of a chunk.
func (w *sweep) chunk(f *catalog.File, t *expiry.Table, i int64) (err error) {
	t.Firsts[i].Store(expiry.Never)
	next := int64(expiry.Never)
	chunk := t.Chunk(i)
	for block := 0; block < expiry.ChunkBlocks; {
		due := expiry.Entry(chunk[block].Load()).Due()
		if err != nil || due > w.now {
			next = min(next, due)
			block++
			continue
		}
		// The entries are taken out before anything is read: what is added meanwhile is
		// there behind this.
		var entries [sweepBlocks]expiry.Entry
		n := 0
		for first := block; n < sweepBlocks && block < expiry.ChunkBlocks; n++ {
			if n > 0 && expiry.Entry(chunk[block].Load()).Due() > w.now {
				break
			}
			entries[n] = expiry.Entry(chunk[first+n].Swap(0))
			block++
		}
		from := (i*expiry.ChunkBlocks + int64(block-n)) * expiry.Block
		w.blocks(f, t, from, entries[:n])
		err = w.pacer.Work(int64(n) * expiry.Block)
	}
	expiry.Lower(&t.Firsts[i], next)
	return err
}

// blocks sweeps blocks next to each other, of which the first begins at an offset.
func (w *sweep) blocks(f *catalog.File, t *expiry.Table, from int64, entries []expiry.Entry) {
	w.expired = w.expired[:0]
	w.read(f, t, from, entries)
	w.takeOut(f)
}

// read finds what has expired in blocks, and keeps in the table what will. Nothing
// else of the sweep touches a file's descriptor.
func (w *sweep) read(f *catalog.File, t *expiry.Table, from int64, entries []expiry.Entry) {
	if !f.Acquire() {
		return // what is left of it is in another file, which has a table of its own
	}
	defer f.Release()
	w.heads.Reset(f.Handle(), f.Salt, f.Limit())
	end := from + int64(len(entries))*expiry.Block
	for i, entry := range entries {
		if entry == 0 {
			continue
		}
		block := from + int64(i)*expiry.Block
		failed, err := w.heads.Walk(block+entry.Place(), block+expiry.Block, end, func(offset int64, r *segment.Record) {
			w.record(f, t, offset, r)
		})
		if err != nil {
			t.Add(failed, w.now+sweepAgain)
		}
	}
}

// record looks at a record.
func (w *sweep) record(f *catalog.File, t *expiry.Table, offset int64, r *segment.Record) {
	if r.Flags&segment.Expires == 0 {
		return
	}
	print := w.sweeper.Hasher.Fingerprint(r.Key)
	loc := index.MakeLocation(f.Slot, offset, r.Size)
	switch {
	case !w.sweeper.catalog.Files.Keys.Holds(print.Hash, loc):
		// It is dead, or compaction has moved it to a file with a table of its own.
	case r.Expired(w.now):
		w.expired = append(w.expired, Record{print, loc, r.Size, len(r.Key)})
	default:
		t.Add(offset, r.Expiry)
	}
}

// takeOut takes out of the index what was found.
func (w *sweep) takeOut(f *catalog.File) {
	s := w.sweeper
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	swept := f.Swept.Load()
	for i := range w.expired {
		r := &w.expired[i]
		if l := s.catalog.Set(); l == nil || l.File(r.Location) != f {
			return // the index points to another file by now, and the slot may be another one's
		}
		if swept != nil {
			swept.Add(r.Location.Offset(), r.KeySize)
		}
		s.Expire(f, r)
	}
}

// Expire takes a record that has expired out of the index, unless that has
// another one of the key, or none.
func (w *Sweeper) Expire(f *catalog.File, r *Record) {
	w.catalog.Hides.Store(true)
	if w.catalog.Files.Keys.CompareAndSwap(r.Fp, r.Location, index.NoLocation) {
		f.AddLive(r.Size, r.KeySize, -1)
		f.Expired.Add(r.Size)
	}
}

// Watch has the sweep tell what it takes out of the files, from here on, until
// the function that it returns is called.
func (w *Sweeper) Watch(files []*catalog.File) (stop func()) {
	set := func(make func() *expiry.Swept) {
		w.sweeping.Lock() // one that is being taken out was so before
		defer w.sweeping.Unlock()
		for _, f := range files {
			f.Swept.Store(make())
		}
	}
	set(expiry.NewSwept)
	return func() { set(func() *expiry.Swept { return nil }) }
}
