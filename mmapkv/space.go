package mmapkv

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
)

// space watches what the store takes on disk, beside what it promised to take at
// most, and has writers wait for compaction when they are faster.
//
// The promise is MaxSpaceRatio times the live bytes and two segments. Writers
// begin to wait more than one segment before that, since room is granted in steps
// of up to half a segment, and the file that is full needs a hint. What the
// compaction in flight may write is counted from its start, and a large write before
// it is written. What readers hold of unlinked files does not count: compaction could
// do nothing about it.
type space struct {
	full atomic.Bool // writers wait until room is closed

	// mu guards the rest.
	mu       rank.Mutex[rank.Space]
	ended    bool // nobody waits any more
	room     chan struct{}
	promised int64 // what the compaction in flight will write
	coming   int64 // what large writes will take that have no room yet
}

// promise counts what a compaction of the run will write at most, or, with nil,
// that it is over.
func (p *space) promise(run []*catalog.File) {
	var bytes int64
	for _, f := range run {
		bytes += f.LiveBytes.Load() + f.LiveHints.Load()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.promised = bytes
}

// spaceUse is what the store takes on disk now, and what of it is alive. Files are
// not rounded up to blocks: compaction could do nothing about that.
func (s *Store) spaceUse() (used, live int64) {
	s.space.mu.Lock()
	used = s.space.promised + s.space.coming + reserve.Size
	s.space.mu.Unlock()
	s.catalog.Files.Mu.Lock()
	defer s.catalog.Files.Mu.Unlock()
	for _, f := range s.catalog.Files.Order {
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

// leastSlack stands for the size of a segment, in bytes, where segments are
// smaller: nobody wants to wait for kilobytes.
const leastSlack = 1 << 20

// bounds are what the store may take before compaction goes for every garbage,
// and before writers wait for it.
func (s *Store) bounds(live int64) (soft, hard int64) {
	ratio, slack := s.options.Compaction.MaxSpaceRatio, max(s.options.SegmentSize, leastSlack)
	soft = times(live, 1+0.4*(ratio-1)) + slack/2
	hard = times(live, ratio) + slack*3/4
	return soft, hard
}

// times is a number of bytes times a ratio, no more than any disk has.
func times(bytes int64, ratio float64) int64 {
	return int64(min(float64(bytes)*min(ratio, math.MaxInt64), 1<<60))
}

// pressed says whether compaction should go for every garbage.
func (s *Store) pressed() bool {
	used, live := s.spaceUse()
	soft, _ := s.bounds(live)
	return used > soft
}

// checkRoom is called when the store takes more room, by the writer who needs it.
// It makes the next ones wait, if compaction has to catch up.
func (s *Store) checkRoom() {
	if s.options.Compaction.Disabled || s.manual() {
		return
	}
	used, live := s.spaceUse()
	soft, hard := s.bounds(live)
	if used > soft {
		defer s.wakeCompact()
	}
	if used <= hard {
		return
	}
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	if !s.space.full.Load() && !s.space.ended {
		s.space.room = make(chan struct{})
		s.space.full.Store(true)
	}
}

// lookForRoom is called by the compactor after each attempt: writers go on when
// there is room again, or when nothing can be done about it.
func (s *Store) lookForRoom(progress bool) {
	used, live := s.spaceUse()
	_, hard := s.bounds(live)
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	if !progress || used <= hard {
		s.space.letGoLocked()
	}
}

// end has no writer wait any more.
func (p *space) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.letGoLocked()
}

// letGoLocked lets the writers go on that wait.
func (p *space) letGoLocked() {
	if p.full.Load() {
		p.full.Store(false)
		close(p.room)
	}
}

// wakeCompact has the compactor look for something to do.
func (s *Store) wakeCompact() {
	wake(s.wakeCompaction)
}

// expect counts what a large write is going to take, and waits for it. Others wait
// behind their own writes for what those have taken.
func (s *Store) expect(w *write, size int64) {
	w.coming = size
	s.space.come(size)
	s.checkRoom()
	s.awaitRoom()
}

// arrived ends what expect began: the file counts that has room for the write, or
// nothing does since it has failed.
func (s *Store) arrived(w *write) {
	if w.coming != 0 {
		s.space.come(-w.coming)
		w.coming = 0
	}
}

func (p *space) come(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming += bytes
}

// awaitRoom waits while compaction has to catch up.
func (s *Store) awaitRoom() {
	s.space.mu.Lock()
	full, room := s.space.full.Load(), s.space.room
	s.space.mu.Unlock()
	if !full {
		return
	}
	began := time.Now()
	<-room
	waited := time.Since(began)
	s.stalled.Add(int64(waited))
	s.events.stalled(waited)
}
