package load

import (
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// What recovery has found in a file comes in several sources: one for each partial hint, and one for
// the records that it scanned. Records of a key may be in several of them, and several times in the
// last one. The youngest decides, as between files.

// addRecovered adds what recovery has found in a file.
func (l *Loading) addRecovered(f *catalog.File) {
	r := f.Recovered
	f.Recovered = nil
	for _, table := range r.Tables {
		l.addReady(&source{file: f, recovered: true, hint: &hints.Hint{Table: table}})
	}
	l.addReady(&source{file: f, recovered: true, scanned: r.Scanned})
	if r.Close != nil {
		l.closers = append(l.closers, r.Close)
	}
}

// addReady adds a source with pieces to read.
func (l *Loading) addReady(from *source) {
	l.sources = append(l.sources, from)
	l.ready = append(l.ready, from)
}

// closeRecovered closes what recovery has found. No worker reads it any more.
func (l *Loading) closeRecovered() {
	for _, closeOne := range l.closers {
		closeOne()
	}
	l.closers = nil
}

// pieces is the number of pieces that the source has. It is open.
func (from *source) pieces() int {
	if from.scanned != nil {
		return from.scanned.Pieces()
	}
	return from.hint.Pieces()
}

// collectFrom collects the records of the i-th piece of a source. due is what the entries take that
// the source does not count itself.
func (c *collector) collectFrom(from *source, i int) (due int64, err error) {
	if from.scanned == nil {
		return 0, c.collect(from.file, from.hint, i)
	}
	from.scanned.Piece(i, from.file.End.Offset, func(e *segment.HintEntry) {
		c.add(from.file, e)
		due += segment.HintEntrySize(len(e.Key))
	})
	return due, nil
}

// giveUp decides what becomes of a source of which a piece cannot be used, and reports whether its
// file's hint is to be rebuilt. That gives all records of the file, so it is done once.
func (l *Loading) giveUp(from *source) (rebuild bool) {
	if !from.recovered {
		return true
	}
	if l.remade[from.file] {
		return false
	}
	l.remade[from.file] = true
	from.recovered = false
	return true
}
