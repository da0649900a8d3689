package segment

import (
	"sync/atomic"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/invariant"
)

// A Segment is unmapped and closed as soon as it is retired and unused. Nothing waits for a
// garbage collection.
//
// There are two ways to use a Segment. A read takes a Pin, which writes the Segment's number into a
// slot of its own, a hazard pointer, so it does not touch a cache line that other readers use. It
// keeps the Pin while its callback runs, however long that takes: there are many slots, and a read
// that finds the eight that it tries taken is counted instead. Users that go through a whole file call Acquire and
// Release, which count users. Both refuse once the Segment is retired.
//
// What must hold, and why it does. All operations below are sequentially consistent.
//
//   - A Segment is never released while it is used. A user announces itself (in a slot or in the
//     count) before it checks retired. The releaser sees retired set before it looks for users. If
//     the user saw retired unset, its announcement came before the mark, so every later search
//     finds the user until it leaves.
//   - A user that starts a second use of the same Segment checks retired again. Without that check,
//     a user that moves from a Pin to a count, or back, could slip past a search of the count and
//     the slots, whichever the search checks first.
//   - A retired Segment is released eventually. A user checks retired after it has left. So the
//     last user to leave searches after it has left, and finds no user. If it saw retired unset,
//     Retire has yet to search. A search may also have seen a user that was refused, so a refused
//     user leaves the same way.
//   - A Segment is released only once: one compare-and-swap decides who releases it.
//   - A process never reuses a number, so a slot never names a Segment other than the one that its
//     reader meant.
//
// lifetime_model_test.go explores all interleavings of these steps, and of faulty variants.
type lifetime struct {
	number    uint64        // unique in the process, never 0
	holds     atomic.Int64  // users counted by Acquire, or by a Pin without a slot
	retired   atomic.Bool   // no new users are admitted
	releasing atomic.Bool   // a goroutine is releasing the Segment, or has released it
	released  chan struct{} // closed once the Segment is unmapped and closed
	mapped    int64         // bytes
}

// slot names the Segment that one read uses; 0: none. It takes two cache lines, since processors
// fetch lines in pairs.
type slot struct {
	number atomic.Uint64
	_      [120]byte
}

const (
	slotBits  = 8
	slotTries = 8 // before a read is counted instead
)

var slots [1 << slotBits]slot

// Pin is the use of a Segment by one read, or by several one after the other. The zero value uses no Segment. A Pin must not be
// copied while it uses one.
type Pin struct {
	segment *Segment // nil: none is used
	slot    *slot    // nil: the use is counted
}

// Take begins to use a Segment, and returns false if the Segment is retired. The Pin first releases
// the Segment that it used before; if that is the same one, Take keeps it and returns true.
func (p *Pin) Take(s *Segment) bool {
	if p.segment == s {
		return true
	}
	if p.segment != nil {
		p.Release()
	}
	p.segment, p.slot = s, claimSlot(s.number)
	if p.slot == nil {
		s.holds.Add(1)
	}
	if s.retired.Load() {
		p.Release()
		return false
	}
	return true
}

// Release ends the use, if there is one.
func (p *Pin) Release() {
	s := p.segment
	if s == nil {
		return
	}
	p.segment = nil
	if p.slot != nil {
		p.slot.number.Store(0)
	} else {
		s.holds.Add(-1)
	}
	s.releaseIfUnused()
}

// claimSlot claims a free slot for a number, or returns nil after slotTries tries. Goroutines start
// their search in different places, chosen by the addresses of their stacks.
func claimSlot(number uint64) *slot {
	const golden = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio
	var here byte
	at := uint64(uintptr(unsafe.Pointer(&here))>>10) * golden >> (64 - slotBits)
	for range slotTries {
		s := &slots[at%uint64(len(slots))]
		if s.number.CompareAndSwap(0, number) {
			return s
		}
		at++
	}
	return nil
}

// Acquire begins a counted use, and returns false if the Segment is retired. Release ends the use.
func (s *Segment) Acquire() bool {
	s.holds.Add(1)
	if s.retired.Load() {
		s.Release()
		return false
	}
	return true
}

// Release ends what Acquire began.
func (s *Segment) Release() {
	holds := s.holds.Add(-1)
	invariant.Check(holds >= 0, "segment %d was released more often than acquired", s.ID)
	s.releaseIfUnused()
}

// releaseIfUnused is called after the end of a use. The user may be in a hurry, so another goroutine
// does the work.
func (s *Segment) releaseIfUnused() {
	if s.retired.Load() && s.claimRelease() {
		go s.release()
	}
}

// Retire ends the Segment: no new use can begin, and the Segment is unmapped and closed now, or at
// the end of its last use. Before, the caller makes sure that readers can no longer find the
// Segment, or that they expect to be refused. Retire may be called more than once.
func (s *Segment) Retire() {
	s.retired.Store(true)
	if s.claimRelease() {
		s.release()
	}
}

// claimRelease returns true if nobody uses the retired Segment, and does so for one caller only.
func (s *Segment) claimRelease() bool {
	if s.holds.Load() != 0 {
		return false
	}
	for i := range slots {
		if slots[i].number.Load() == s.number {
			return false
		}
	}
	return s.releasing.CompareAndSwap(false, true)
}

// release unmaps and closes the Segment.
func (s *Segment) release() {
	if s.mapping != nil {
		if err := s.mapping.Unmap(); err != nil {
			releaseErrors.Add(1)
		}
	}
	if err := s.file.Close(); err != nil {
		releaseErrors.Add(1)
	}
	heldBytes.Add(-s.mapped)
	heldCount.Add(-1)
	close(s.released)
}

// Released reports whether the Segment is retired, unmapped and closed.
func (s *Segment) Released() bool {
	select {
	case <-s.released:
		return true
	default:
		return false
	}
}

// AwaitRelease waits until a retired, unused Segment is released: its last user left the release to
// another goroutine, which may not have done it yet. AwaitRelease does not wait for users.
func (s *Segment) AwaitRelease() {
	if s.releasing.Load() {
		<-s.released
	}
}

var (
	lastNumber    atomic.Uint64
	heldCount     atomic.Int64
	heldBytes     atomic.Int64
	releaseErrors atomic.Int64
)

// begin starts the lifetime of a Segment that maps the given number of bytes.
func (l *lifetime) begin(mapped int64) {
	l.number, l.mapped, l.released = lastNumber.Add(1), mapped, make(chan struct{})
	heldCount.Add(1)
	heldBytes.Add(mapped)
}

// Held is the number of Segments of this process that are not yet released.
func Held() int64 { return heldCount.Load() }

// HeldBytes is the total size of their mappings.
func HeldBytes() int64 { return heldBytes.Load() }

// ReleaseErrors is the number of unmaps and closes that failed when a Segment was released. No
// caller waits for a release, so these errors are counted rather than returned.
func ReleaseErrors() int64 { return releaseErrors.Load() }
