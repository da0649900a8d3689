package mmapkv

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/mmapkv/mmapkv/segment"
)

// ownWrite is what a transaction has written to one key. It never changes: a later write of the key
// takes its place.
type ownWrite struct {
	key, value []byte
	ttl        time.Duration // from the commit on; 0: for ever
	deleted    bool
}

// newOwnWrite copies a write.
func newOwnWrite(key, value []byte, ttl time.Duration, deleted bool) *ownWrite {
	both := make([]byte, len(key)+len(value))
	copy(both, key)
	copy(both[len(key):], value)
	return &ownWrite{key: both[:len(key):len(key)], value: both[len(key):], ttl: ttl, deleted: deleted}
}

// size is what a write takes, in bytes, of the batch that it becomes a part of.
func (w *ownWrite) size() int64 {
	return segment.RecordSize(len(w.key), int64(len(w.value)), segment.Expires)
}

// ownWrites are the writes of one transaction, the last one of each key. The zero value is empty. It must
// not be copied.
type ownWrites struct {
	list  []*ownWrite    // by the key's first write
	index map[string]int // into the list; nil while that is short
	size  int64          // of all, in bytes

	order   []int       // into the list, by key; may lack the youngest
	sorted  []*ownWrite // the list in that order; never changed, only replaced
	current bool        // sorted is

	few [2]*ownWrite // memory for the first writes
}

// shortList is how many writes are searched one by one.
const shortList = 8

// find returns the place of a key in the list, -1 if it was not written.
func (o *ownWrites) find(key []byte) int {
	if o.index == nil {
		return slices.IndexFunc(o.list, func(w *ownWrite) bool { return bytes.Equal(w.key, key) })
	}
	if at, ok := o.index[string(key)]; ok {
		return at
	}
	return -1
}

// get returns the write of a key, nil if there is none.
func (o *ownWrites) get(key []byte) *ownWrite {
	if at := o.find(key); at >= 0 {
		return o.list[at]
	}
	return nil
}

// put adds a write, in the place of an earlier one of its key.
func (o *ownWrites) put(w *ownWrite) {
	at := o.find(w.key)
	if o.size, o.current = o.size+w.size(), false; at >= 0 {
		o.size -= o.list[at].size()
		o.list[at] = w
		return
	}
	if o.list == nil {
		o.list = o.few[:0]
	}
	o.list = append(o.list, w)
	if o.index != nil {
		o.index[string(w.key)] = len(o.list) - 1
	} else if len(o.list) > shortList {
		o.index = make(map[string]int, 4*shortList)
		for at, other := range o.list {
			o.index[string(other.key)] = at
		}
	}
}

// inOrder returns the writes as they are now, by key. The slice never changes.
func (o *ownWrites) inOrder() []*ownWrite {
	if o.current {
		return o.sorted
	}
	if known := len(o.order); known < len(o.list) {
		compare := func(a, b int) int { return bytes.Compare(o.list[a].key, o.list[b].key) }
		added := make([]int, 0, len(o.list)-known)
		for at := known; at < len(o.list); at++ {
			added = append(added, at)
		}
		slices.SortFunc(added, compare)
		o.order = mergeSorted(o.order, added, compare)
	}
	o.sorted = make([]*ownWrite, len(o.order))
	for i, at := range o.order {
		o.sorted[i] = o.list[at]
	}
	o.current = true
	return o.sorted
}

// mergeSorted merges two sorted slices that have no element in common.
func mergeSorted(a, b []int, compare func(a, b int) int) []int {
	if len(a) == 0 {
		return b
	}
	merged := make([]int, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if compare(a[0], b[0]) < 0 {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	return append(append(merged, a...), b...)
}

// within returns the part of writes in order that lies within bounds.
func within(sorted []*ownWrite, b *bounds) []*ownWrite {
	sorted = sorted[firstFrom(sorted, b.from):]
	if b.to != nil {
		sorted = sorted[:firstFrom(sorted, b.to)]
	}
	return sorted
}

// firstFrom returns the place of the first write in order whose key is not below the given one.
func firstFrom(sorted []*ownWrite, key []byte) int {
	return sort.Search(len(sorted), func(i int) bool { return bytes.Compare(sorted[i].key, key) >= 0 })
}

// draft adds the writes to a draft. Times to live begin now.
func (o *ownWrites) draft(d *segment.Draft, now time.Time) {
	for _, w := range o.list {
		switch {
		case w.deleted:
			d.Delete(w.key)
		case w.ttl != 0:
			d.Put(w.key, w.value, expiryAfter(now, w.ttl))
		default:
			d.Put(w.key, w.value, 0)
		}
	}
}

// compareTo says which of a key and a write comes first in a direction: below 0 for the key.
func (w *ownWrite) compareTo(key []byte, reverse bool) int {
	order := bytes.Compare(key, w.key)
	if reverse {
		return cmp.Compare(0, order)
	}
	return order
}
