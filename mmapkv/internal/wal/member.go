package wal

import (
	"sync"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/segment"
)

// Write is one Put, Delete or Batch on its way to the disk.
type Write struct {
	Draft   *segment.Draft
	Prints  []index.Fingerprint       // of the draft's keys
	deletes bool                      // nothing but deletes: may use the reserve
	revived map[index.Fingerprint]int // the last put of each key, where there are deletes among puts
	long    *longWrite                // the value has a file of its own
	coming  int64                     // bytes that count as taken; see expect
	Err     error

	Own segment.Draft // what draft points to, but for a Batch
}

var writes = sync.Pool{New: func() any { return new(Write) }}

// discard gives w back for reuse.
func (w *Write) discard() {
	w.Own.Reset()
	w.Draft, w.long, w.Err, w.deletes, w.revived = nil, nil, nil, false, nil
	w.Prints = w.Prints[:0]
	if cap(w.Prints) > 4096 {
		w.Prints = nil
	}
	writes.Put(w)
}
