// Package space bounds what the store takes on disk, and makes writers wait for compaction
// when they are faster.
//
// The store promises to take at most MaxSpaceRatio times its live bytes and two segments.
// Writers start to wait more than one segment before that, since room is granted in steps of
// up to half a segment, and a full file needs a hint. What the compaction in flight may write
// counts from its start, and a large write counts before it is written. What readers hold of
// unlinked files does not count: compaction could do nothing about it.
//
// What must hold: nobody waits for ever. Writers go on when there is room, when compaction
// can do nothing about it, and when the store is closed.
package space

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
)

// Options says what a Space needs of its store.
type Options struct {
	MaxRatio  float64 // of what the store takes to its live bytes
	Unbounded bool    // nothing compacts in the background, so writers never wait
	// WakeCompactor makes the compactor look for something to do. It does not wait.
	WakeCompactor func()
	Stalled       func(time.Duration) // told how long a writer waited
}

// Space bounds what a store takes.
type Space struct {
	Options
	catalog *catalog.Catalog
	full    atomic.Bool // writers wait until room is closed

	// mu guards the rest.
	Mu       rank.Mutex[rank.Space]
	ended    bool // nobody waits any more
	room     chan struct{}
	promised int64 // what the compaction in flight will write
	coming   int64 // what large writes will take that have no room yet
}

// New makes the space of a catalog's files.
func New(c *catalog.Catalog, o Options) *Space { return &Space{Options: o, catalog: c} }

// IsFull says whether writers wait at the moment.
func (p *Space) IsFull() bool { return p.full.Load() }

// Promise counts what a compaction of the run will write at most, or, with nil,
// that it is over.
func (p *Space) Promise(run []*catalog.File) {
	var bytes int64
	for _, f := range run {
		bytes += f.LiveBytes.Load() + f.LiveHints.Load()
	}
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.promised = bytes
}

// Use is what the store takes on disk now, and what of it is alive. Files are
// not rounded up to blocks: compaction could do nothing about that.
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
		used += length + hints
		live += f.LiveBytes.Load() + f.LiveHints.Load()
	}
	return used, live
}

// MinSlack stands for the size of a segment, in bytes, where segments are
// smaller: nobody wants to wait for kilobytes.
const MinSlack = 1 << 20

// Bounds are what the store may take before compaction goes for every garbage,
// and before writers wait for it.
func (p *Space) Bounds(live int64) (soft, hard int64) {
	ratio, slack := p.MaxRatio, max(p.catalog.SegmentSize, MinSlack)
	soft = times(live, 1+0.4*(ratio-1)) + slack/2
	hard = times(live, ratio) + slack*3/4
	return soft, hard
}

// times is a number of bytes times a ratio, no more than any disk has.
func times(bytes int64, ratio float64) int64 {
	return int64(min(float64(bytes)*min(ratio, math.MaxInt64), 1<<60))
}

// Pressed says whether compaction should go for every garbage.
func (p *Space) Pressed() bool {
	used, live := p.Use()
	soft, _ := p.Bounds(live)
	return used > soft
}

// CheckRoom is called when the store takes more room, by the writer who needs it.
// It makes the next ones wait, if compaction has to catch up.
func (p *Space) CheckRoom() {
	if p.Unbounded {
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

// HoldBack makes writers wait until there is room.
func (p *Space) HoldBack() {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	if !p.full.Load() && !p.ended {
		p.room = make(chan struct{})
		p.full.Store(true)
	}
}

// Promised is what the compaction in flight will write at most.
func (p *Space) Promised() int64 {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	return p.promised
}

// Look is called by the compactor after each attempt: writers go on when
// there is room again, or when nothing can be done about it.
func (p *Space) Look(progress bool) {
	used, live := p.Use()
	_, hard := p.Bounds(live)
	p.Mu.Lock()
	defer p.Mu.Unlock()
	if !progress || used <= hard {
		p.letGoLocked()
	}
}

// End has no writer wait any more.
func (p *Space) End() {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.ended = true
	p.letGoLocked()
}

// letGoLocked lets the writers go on that wait.
func (p *Space) letGoLocked() {
	if p.full.Load() {
		p.full.Store(false)
		close(p.room)
	}
}

// Expect counts what a large write is going to take, and waits until there is room for it.
// Other writes wait for the room that those before them have taken. Arrived follows.
func (p *Space) Expect(size int64) {
	p.come(size)
	p.CheckRoom()
	p.AwaitRoom()
}

// Arrived ends what Expect began: the file with room for the write counts from here on, or
// the write has failed.
func (p *Space) Arrived(size int64) { p.come(-size) }

func (p *Space) come(bytes int64) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.coming += bytes
}

// AwaitRoom waits while compaction has to catch up.
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

// Negligible is the part of a file, one in so many bytes, below which its garbage is not
// worth a rewrite, not even when asked for.
const Negligible = 64
