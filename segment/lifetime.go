package segment

import (
	"sync/atomic"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/invariant"
)

// A Segment's mapping and descriptor go as soon as it is retired and nobody uses
// it. Nothing waits for a garbage collection.
//
// There are two ways to use a Segment. A short read takes a Pin: it writes the
// Segment's number into a slot, which costs no line that other readers use. Whoever
// stays longer, or hands control to somebody else in between, calls Acquire and
// Release, which count. Both say no once the Segment is retired.
//
// What must hold, and why it does. All operations below are sequentially
// consistent.
//
//   - Nothing is released while it is used. A user announces itself (slot or count)
//     before it looks at retired; whoever releases sees retired set before it looks
//     for users. If the user saw retired unset, its announcement came before the
//     mark, so every search behind the mark finds it, until it leaves.
//   - Whoever already uses the Segment looks at retired as well when it begins another
//     use. One that went unseen from a Pin to a count, or the other way, could fall
//     between the look at the count and that at the slots, whichever comes first.
//   - It is released in the end. A user looks at retired after it has left. The last
//     one to leave therefore looks behind its own leaving, and finds no user; and if
//     it saw retired unset, Retire has yet to look. A user that was refused has been
//     seen by others, so it leaves the same way.
//   - It is released once: one compare-and-swap decides by whom.
//   - A number is never given twice in a process, so a slot never names another
//     Segment than the one its reader meant.
//
// lifetime_model_test.go goes through all interleavings of these steps, and of wrong
// ones.
type lifetime struct {
	number    uint64        // unique in the process, never 0
	holds     atomic.Int64  // users that count
	retired   atomic.Bool   // no user is admitted
	releasing atomic.Bool   // somebody releases, or has
	released  chan struct{} // closed when it is unmapped and closed
	mapped    int64         // bytes
}

// slot names the Segment that one read uses; 0: none. It has two cache lines, since
// processors fetch lines in pairs.
type slot struct {
	number atomic.Uint64
	_      [120]byte
}

const (
	slotBits  = 8
	slotTries = 8 // before a read counts instead
)

var slots [1 << slotBits]slot

// Pin is the use of a Segment by one short read. The zero value uses nothing. It
// must not be copied while it uses one.
type Pin struct {
	segment *Segment // nil: none is used
	slot    *slot    // nil: the use is counted
}

// Take begins to use a Segment, and says whether that is possible: it is not once
// the Segment is retired. What the Pin used before it uses no longer; the same Segment
// it just goes on using.
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

// claimSlot finds a free slot for a number, nil when it has tried often enough.
// Goroutines start their search in different places, by the addresses of their
// stacks.
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

// Acquire begins a use that counts, and says whether that is possible: it is not
// once the Segment is retired. Release ends it.
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

// left is called behind the end of a use. The user may be in a hurry, so that it
// leaves the work to another goroutine.
func (s *Segment) releaseIfUnused() {
	if s.retired.Load() && s.claimRelease() {
		go s.release()
	}
}

// Retire ends the Segment: nobody can begin to use it, and its mapping and its
// descriptor go now, or with the last use. Readers that look for it must not find it
// any more, or expect to be refused. Retire may be called more than once.
func (s *Segment) Retire() {
	s.retired.Store(true)
	if s.claimRelease() {
		s.release()
	}
}

// claimRelease says whether nobody uses the retired Segment, to one caller only.
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

// release unmaps and closes.
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

// Released says whether the Segment is retired, unmapped and closed.
func (s *Segment) Released() bool {
	select {
	case <-s.released:
		return true
	default:
		return false
	}
}

// AwaitRelease returns when a retired Segment that nobody uses is released: its last
// user has left that to another goroutine, which may not have come to it. It does not
// wait for users.
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

// begin starts the lifetime of a Segment with so many bytes mapped.
func (l *lifetime) begin(mapped int64) {
	l.number, l.mapped, l.released = lastNumber.Add(1), mapped, make(chan struct{})
	heldCount.Add(1)
	heldBytes.Add(mapped)
}

// Held is the number of segments of this process that are not yet released.
func Held() int64 { return heldCount.Load() }

// HeldBytes is the size of the memory they have mapped.
func HeldBytes() int64 { return heldBytes.Load() }

// ReleaseErrors is how many unmaps and closes of released segments have failed.
// Nobody waits for them, so they are counted rather than returned.
func ReleaseErrors() int64 { return releaseErrors.Load() }
