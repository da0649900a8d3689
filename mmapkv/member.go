package mmapkv

import (
	"sync"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/segment"
)

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
