package load

import (
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// What recovery has found in a file comes in several pieces: the tables of its partial hints, each of
// which is a source, and the records that recovery scanned after them. Those go into the index before
// Open returns, since no table has them. Records of a key may be in several pieces, and several times
// among those scanned. The youngest decides, as between files.

// scannedAtOnce is how many scanned records are collected before they are put into the index.
const scannedAtOnce = 1024

// loadScanned puts the records that recovery scanned in a file into the index.
func (l *Loading) loadScanned(f *catalog.File) {
	scanned := f.Recovered.Scanned
	keys := l.Catalog.Files.Keys
	keys.Reserve(keys.Len()+scanned.Len(), l.halted)
	c := l.newCollectorOf(1, min(scannedAtOnce, scanned.Len()+1))
	due := int64(0)
	for i := range scanned.Pieces() {
		scanned.Piece(i, f.End.Offset, func(e *segment.HintEntry) {
			due += segment.HintEntrySize(len(e.Key))
			if c.batch.Add(*e); len(c.batch.Entries) == prefetch.Batch {
				c.addBatch(f)
			}
		})
	}
	c.addBatch(f)
	c.putAll()
	c.end()
	f.HintDue.Add(due)
}

// addRecovered adds the tables that recovery has found of a file. The caller holds the lock.
func (l *Loading) addRecovered(f *catalog.File) {
	r := f.Recovered
	f.Recovered = nil
	l.unhinted = append(l.unhinted, f)
	left := new(atomic.Int64)
	left.Store(int64(len(r.Tables)))
	closeOne := func() {
		if left.Add(-1) == 0 {
			r.Close()
		}
	}
	for _, one := range r.Tables {
		hint := &hints.Hint{Table: one}
		from := &source{of: l, file: f, end: f.End, sealed: f.Active == nil, recovered: true, hint: hint, upTo: one.Covers.Offset, entries: one.Len()}
		t := &table{hint: hint, closed: closeOne}
		t.users.Store(1) // the source
		from.table.Store(t)
		l.sources = append(l.sources, from)
		l.ready = append(l.ready, from)
	}
	if len(r.Tables) == 0 && r.Close != nil {
		r.Close()
	}
}

// dropRecovered closes what recovery has found, if Settle was not called. Open still has the store for
// itself.
func (l *Loading) dropRecovered() {
	for _, f := range l.Catalog.Files.Order {
		if r := f.Recovered; r != nil && r.Close != nil {
			f.Recovered = nil
			r.Close()
		}
	}
}

// giveUpTable makes a source of which a piece cannot be used one of the file's whole hint, which is
// rebuilt unless another such source has done it. The caller holds the lock.
func (l *Loading) giveUpTable(from *source) {
	if !from.recovered {
		return
	}
	from.recovered, from.failed = false, false
	if !l.remade[from.file] {
		l.remade[from.file] = true
		from.file.HintDue.Store(0) // the whole hint counts all of it
	}
}

// isRepeated reports whether a source that was read is the whole of a file of which another source was
// read as a whole. What is to be counted of the file, and to be reported, was counted then. The caller
// holds the lock.
func (l *Loading) isRepeated(from *source) bool {
	if from.upTo == 0 || from.recovered {
		return false
	}
	was := l.whole[from.file]
	l.whole[from.file] = true
	return was
}

// noteMissingHints has the background write the hints of the files that a recovery sealed. The caller
// holds the lock.
func (l *Loading) noteMissingHints() {
	for _, f := range l.unhinted {
		if !l.remade[f] && f.Active == nil && !l.Catalog.ReadOnly {
			f.HintMissing.Store(true)
			l.found.Unhinted++
		}
	}
}
