package sweep

import (
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/expiry"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// maxBlocks is the maximum number of adjacent blocks that are read at once.
const maxBlocks = pace.LookBytes / expiry.Block

// sweep is one sweep through everything that is due by now.
type sweep struct {
	sweeper *Sweeper
	pacer   *pace.Pacer
	now     int64 // Unix milliseconds
	heads   segment.HeadWalker

	expired []Record // of the blocks in hand
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

// chunk sweeps what is due of the i-th chunk.
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
		// The entries are taken out before anything is read. Whatever is added from here on stays
		// in the table.
		var entries [maxBlocks]expiry.Entry
		n := 0
		for first := block; n < maxBlocks && block < expiry.ChunkBlocks; n++ {
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

// blocks sweeps adjacent blocks, from an offset on.
func (w *sweep) blocks(f *catalog.File, t *expiry.Table, from int64, entries []expiry.Entry) {
	w.expired = w.expired[:0]
	w.read(f, t, from, entries)
	w.takeOut(f)
}

// read finds what has expired in adjacent blocks, and puts what will expire later back into the
// table. Nothing else in the sweep uses a file's descriptor.
func (w *sweep) read(f *catalog.File, t *expiry.Table, from int64, entries []expiry.Entry) {
	if !f.Acquire() {
		return // its live records are in another file, which has a table of its own
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
			t.Add(failed, w.now+retryAfter)
		}
	}
}

// record looks at one record.
func (w *sweep) record(f *catalog.File, t *expiry.Table, offset int64, r *segment.Record) {
	if r.Flags&segment.Expires == 0 {
		return
	}
	fp := w.sweeper.Hasher.Fingerprint(r.Key)
	loc := index.MakeLocation(f.Slot, offset, r.Size)
	switch {
	case !w.sweeper.catalog.Files.Keys.Holds(fp.Hash, loc):
		// It is dead, or compaction has moved it to a file with a table of its own.
	case r.Expired(w.now):
		w.expired = append(w.expired, Record{fp, loc, r.Size, len(r.Key)})
	default:
		t.Add(offset, r.Expiry)
	}
}

// takeOut takes the records that read found out of the index.
func (w *sweep) takeOut(f *catalog.File) {
	s := w.sweeper
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	swept := f.Swept.Load()
	for i := range w.expired {
		r := &w.expired[i]
		if set := s.catalog.Set(); set == nil || set.File(r.Location) != f {
			return // the index points to another file by now, and the slot may belong to one
		}
		if swept != nil {
			swept.Add(r.Location.Offset(), r.KeySize)
		}
		s.Expire(f, r)
	}
}
