package mmapkv

import (
	"bytes"
	"sort"
	"sync"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
	"github.com/mmapkv/mmapkv/segment"
)

// stretch is the keys of one instant that lie within bounds. It fetches them in batches, which grow, so
// that one who reads a single key does not pay for many. What must hold:
//
//   - A batch has no key outside the bounds, and none that had expired at the instant, or had left the
//     index because it had expired by an earlier clock.
//   - Whatever a batch leaves out at its end, so do all later ones in that direction.
//   - The keys of a batch are in memory that does not fault, and stay until the next call.
type stretch struct {
	instant
	bounds
	cursor  *order.Cursor
	buffer  *batchBuffer
	batch   []order.Entry // the current batch, part of buffer
	reverse bool          // the batch goes downwards
	landed  bool          // the cursor stands at the batch's only entry
	over    bool          // nothing follows the batch in its direction
	ahead   int           // how many entries the next fetch asks for
	used    int           // how much of buffer has been used
}

// batchBuffer is room for the largest batch.
type batchBuffer = [prefetch.Batch]order.Entry

// buffers are the buffers that no stretch uses.
var buffers = sync.Pool{New: func() any { return new(batchBuffer) }}

// firstFetch is how many entries are fetched after the first one.
const firstFetch = 4

// stretchOf returns the stretch of an instant that the options name. Nothing in it is fetched yet.
func stretchOf(m instant, o *ScanOptions) stretch {
	return stretch{instant: m, bounds: o.bounds(), cursor: m.state.Cursor(), buffer: buffers.Get().(*batchBuffer)}
}

// drop gives back what the stretch took. It is called once, before the instant ends.
func (p *stretch) drop() {
	p.cursor.Close()
	clear(p.buffer[:p.used]) // else it would keep the store's files from being collected
	buffers.Put(p.buffer)
	p.buffer, p.batch = nil, nil
}

// start fetches the first batch in a direction, and reports whether there is one.
func (p *stretch) start(reverse bool) bool {
	if reverse {
		return p.descend(nil, false)
	}
	return p.ascend(nil)
}

// ascend fetches the first entry whose key is not below a key.
func (p *stretch) ascend(key []byte) bool {
	if bytes.Compare(key, p.from) < 0 {
		key = p.from
	}
	p.reset(false)
	if p.isEmpty() {
		return false
	}
	if len(key) == 0 {
		return p.land(p.cursor.First())
	}
	return p.land(p.cursor.SeekGE(key))
}

// descend fetches the last entry whose key is below a key, or without a limit the last one.
func (p *stretch) descend(key []byte, limited bool) bool {
	if p.to != nil && (!limited || bytes.Compare(key, p.to) > 0) {
		key, limited = p.to, true
	}
	p.reset(true)
	if p.isEmpty() {
		return false
	}
	if !limited {
		return p.land(p.cursor.Last())
	}
	return p.land(p.cursor.SeekLT(key))
}

// reset forgets the batch.
func (p *stretch) reset(reverse bool) {
	p.batch, p.reverse, p.landed, p.over, p.ahead = nil, reverse, false, false, firstFetch
}

// land makes a batch of the entry that the cursor has come to, if it has come to one.
func (p *stretch) land(ok bool) bool {
	p.landed = ok
	if !ok {
		p.over = true
		return false
	}
	p.buffer[0], p.used = p.cursor.Entry(), max(p.used, 1)
	p.batch = p.keep(p.buffer[:1])
	return len(p.batch) > 0 || p.fetch()
}

// fetch fetches the next batch, and reports whether there is one.
func (p *stretch) fetch() bool {
	p.batch = nil
	for !p.over {
		n := p.cursor.Fill(p.buffer[:p.ahead], p.reverse)
		p.landed, p.used = false, max(p.used, n)
		p.ahead = min(2*p.ahead, len(p.buffer))
		if n == 0 {
			p.over = true
		}
		if p.batch = p.keep(p.buffer[:n]); len(p.batch) > 0 {
			return true
		}
	}
	return false
}

// turn makes fetch go the other way. It returns false if the cursor stands somewhere else, so that it
// must seek first.
func (p *stretch) turn() bool {
	if !p.landed {
		return false
	}
	p.reset(!p.reverse)
	return true
}

// keep returns the entries that belong to the stretch. It moves them together.
func (p *stretch) keep(entries []order.Entry) []order.Entry {
	if n := len(entries); n > 0 && p.passed(entries[n-1].Key, p.reverse) {
		p.over = true
		entries = entries[:sort.Search(n-1, func(i int) bool { return p.passed(entries[i].Key, p.reverse) })]
	}
	kept := 0
	for i := range entries {
		e := &entries[i]
		if p.leavesOut(e) {
			continue
		}
		if p.firstExpiry != nil && e.Flags&segment.Expires != 0 {
			*p.firstExpiry = min(*p.firstExpiry, e.Expiry)
		}
		if kept != i {
			entries[kept] = *e
		}
		kept++
	}
	return entries[:kept]
}

// prefetch asks for the memory of the batch's records.
func (p *stretch) prefetch() {
	if len(p.batch) == 1 {
		return
	}
	var lines [prefetch.Batch]unsafe.Pointer
	var bytes [prefetch.Batch]int64
	for i := range p.batch {
		e := &p.batch[i]
		lines[i], bytes[i] = recordMemory(e.File, e.Offset, e.Size)
	}
	prefetchMemory(lines[:len(p.batch)], bytes[:len(p.batch)])
}

// failed returns what ended the fetching before its time, and reports it if it is damage.
func (p *stretch) failed() error {
	err := p.cursor.Err()
	if err != nil {
		p.store.sawDamage(err)
	}
	return err
}
