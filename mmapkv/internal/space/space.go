// Package space bounds what the store takes on disk: it makes writers wait for compaction when they
// are faster.
//
// What must hold:
//
//   - The store takes at most MaxSpaceRatio times its live bytes, and two segments.
//   - Nobody waits for ever. Writers go on when there is room, when compaction can do nothing about
//     the lack of it, and when the store is closed.
//
// Writers start to wait more than one segment before the limit, since room is granted in steps of
// up to half a segment, and a full file needs a hint. What the compaction in flight may write
// counts from its start, and a large write counts before it is written. Unlinked files that readers
// still use do not count: compaction could do nothing about them.
package space

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
)

// Space bounds what a store takes. All methods may be called by any number of goroutines at once.
type Space struct {
	Options
	catalog *catalog.Catalog
	full    atomic.Bool // writers wait until room is closed; changed under Mu

	Mu       rank.Mutex[rank.Space] // guards the rest
	room     chan struct{}          // closed when the writers that wait may go on
	ended    bool                   // nobody waits any more
	promised int64                  // the most that the compaction in flight will write, in bytes
	coming   int64                  // what large writes will take that have no room yet, in bytes
}

// Options is what a Space needs of its store.
type Options struct {
	MaxRatio  float64 // the largest ratio of what the store takes to its live bytes
	Unbounded bool    // nothing compacts in the background, so writers never wait

	Idle func() bool // reports whether nothing is compacted yet, because the store is still loading: writers do not wait

	WakeCompactor func()              // makes the compactor look for something to do; does not block
	Stalled       func(time.Duration) // told how long a writer waited
}

// New makes the Space of a catalog's files.
func New(c *catalog.Catalog, o Options) *Space { return &Space{Options: o, catalog: c} }

// CheckRoom makes the next writers wait if compaction has to catch up. The writer that needs room
// calls it when the store takes more.
func (p *Space) CheckRoom() {
	if p.Unbounded || p.Idle != nil && p.Idle() {
		return
	}
	used, live := p.Use()
	soft, hard := p.Bounds(live)
	if used > soft {
		defer p.WakeCompactor()
	}
	if used <= hard {
		return
	}
	p.HoldBack()
}

// HoldBack makes writers wait until Look or End lets them go on.
func (p *Space) HoldBack() {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	if !p.full.Load() && !p.ended {
		p.room = make(chan struct{})
		p.full.Store(true)
	}
}

// Pressed reports whether compaction should collect even little garbage.
func (p *Space) Pressed() bool {
	used, live := p.Use()
	soft, _ := p.Bounds(live)
	return used > soft
}

// MinSlack stands in for the size of smaller segments, in bytes: nobody wants to wait for
// kilobytes.
const MinSlack = 1 << 20

// Negligible divides the size of a file: garbage of less than that part is not worth a rewrite, not
// even when the user asks for one.
const Negligible = 64

// Bounds returns how many bytes the store may take before compaction collects even little garbage,
// and before writers wait.
func (p *Space) Bounds(live int64) (soft, hard int64) {
	ratio, slack := p.MaxRatio, max(p.catalog.SegmentSize, MinSlack)
	soft = times(live, 1+0.4*(ratio-1)) + slack/2
	hard = times(live, ratio) + slack*3/4
	return soft, hard
}

// times multiplies a number of bytes by a ratio. The result is at most more than any disk has.
func times(bytes int64, ratio float64) int64 {
	return int64(min(float64(bytes)*min(ratio, math.MaxInt64), 1<<60))
}

// Use returns how many bytes the store takes on disk, and how many of them are live. It does not
// round files up to blocks: compaction could do nothing about that.
func (p *Space) Use() (used, live int64) {
	p.Mu.Lock()
	used = p.promised + p.coming + reserve.Size
	p.Mu.Unlock()
	p.catalog.Files.Mu.Lock()
	defer p.catalog.Files.Mu.Unlock()
	for _, f := range p.catalog.Files.Order {
		hints := max(f.HintBytes.Load(), f.HintDue.Load())
		length := f.Limit()
		if f.Active != nil {
			length = max(length, f.Active.Allocated())
		}
		used += length + hints + f.PartialBytes.Load()
		live += f.LiveBytes.Load() + f.LiveHints.Load()
	}
	return used, live
}

// IsFull reports whether writers have to wait.
func (p *Space) IsFull() bool { return p.full.Load() }

// AwaitRoom waits while compaction has to catch up, and tells Stalled how long.
func (p *Space) AwaitRoom() {
	p.Mu.Lock()
	full, room := p.full.Load(), p.room
	p.Mu.Unlock()
	if !full {
		return
	}
	began := time.Now()
	<-room
	waited := time.Since(began)
	p.Stalled(waited)
}

// Expect counts the size bytes that a large write will take, and waits until there is room for
// them. It is for large writes alone: others only wait for the room that earlier writes have taken.
// The caller calls Arrived afterwards.
func (p *Space) Expect(size int64) {
	p.come(size)
	p.CheckRoom()
	p.AwaitRoom()
}

// Arrived takes back what Expect counted: from now on the file with room for the write counts, or
// the write has failed.
func (p *Space) Arrived(size int64) { p.come(-size) }

// come adds to what large writes will take.
func (p *Space) come(bytes int64) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.coming += bytes
}

// Promise counts the most that a compaction of the run will write. With nil the compaction is over.
func (p *Space) Promise(run []*catalog.File) {
	var bytes int64
	for _, f := range run {
		bytes += f.LiveBytes.Load() + f.LiveHints.Load()
	}
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.promised = bytes
}

// Promised returns the most that the compaction in flight will write, in bytes.
func (p *Space) Promised() int64 {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	return p.promised
}

// Look lets writers go on if there is room again. It also does if progress is false: then
// compaction can do nothing about it. The compactor calls it after each attempt.
func (p *Space) Look(progress bool) {
	used, live := p.Use()
	_, hard := p.Bounds(live)
	p.Mu.Lock()
	defer p.Mu.Unlock()
	if !progress || used <= hard {
		p.letGoLocked()
	}
}

// End lets all writers go on, now and from then on.
func (p *Space) End() {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.ended = true
	p.letGoLocked()
}

// letGoLocked lets the waiting writers go on.
func (p *Space) letGoLocked() {
	if p.full.Load() {
		p.full.Store(false)
		close(p.room)
	}
}
