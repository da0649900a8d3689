package wal

import (
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/prefetch"
)

// A record that is published needs memory of the index, and the word with the bit of the record that
// it replaces. In a large store neither is in the processor's caches, and only the first says where
// the second is. Each is asked for while there is something else to do.

// aheadRecords is for how many records at a time memory is asked for.
const aheadRecords = prefetch.Ahead

// ahead is where the index looks for the next records of a batch. The leader uses it.
type ahead struct {
	found [aheadRecords]index.Candidates
}

// askIndex asks for the part of the index that the first records of a write need.
func (l *Log) askIndex(w *Write) {
	keys := l.catalog.Set().Keys // the set is there: Close waits for this write
	for _, fp := range w.Fps[:min(len(w.Fps), aheadRecords)] {
		keys.Prefetch(fp.Hash)
	}
}

// beginPrefetch asks for the bits of what the first records of a batch replace. Before that the batch
// has asked for their part of the index. What is written to the file follows, and takes longer. For a
// single record that would cost as much as it saves.
func (l *Log) beginPrefetch(w *Write) {
	if len(w.Fps) == 1 {
		return
	}
	keys := l.catalog.Set().Keys
	for _, fp := range w.Fps[:min(len(w.Fps), aheadRecords)] {
		var found index.Candidates
		keys.FindInto(&found, fp.Hash)
		l.prefetchBit(&found)
	}
}

// prefetch is called before the i-th record of a write is published. Every aheadRecords calls it asks
// for the bits of what the records from i on replace, and for the part of the index of those after
// them. The first records have theirs already.
func (l *Log) prefetch(keys *index.KeyDir, fps []index.Fingerprint, i int) {
	if i%aheadRecords != 0 || len(fps) <= aheadRecords {
		return
	}
	fps = fps[i:]
	if i > 0 {
		for n := range min(len(fps), aheadRecords) {
			l.prefetchBit(&l.ahead.found[n])
		}
	}
	if len(fps) <= aheadRecords {
		clear(l.ahead.found[:]) // pages of the index that are replaced must not stay in memory
		return
	}
	for n, fp := range fps[aheadRecords:min(len(fps), 2*aheadRecords)] {
		keys.FindInto(&l.ahead.found[n], fp.Hash)
	}
}

// prefetchBit asks for the bit of the record that the index has for a key.
func (l *Log) prefetchBit(found *index.Candidates) {
	old, ok := found.Next()
	if !ok {
		return
	}
	if f := l.catalog.Set().File(old); f != nil {
		f.Alive.Prefetch(old.Offset())
	}
}
