//go:build invariants

package rank

import (
	"fmt"
	"strings"
	"sync"
)

// Mutex is a mutex with a rank.
type Mutex[R Rank] struct {
	mutex sync.Mutex // guards what its owner says
}

// Lock locks the mutex.
func (m *Mutex[R]) Lock() {
	Acquire[R]()
	m.mutex.Lock()
}

// TryLock locks the mutex if it is free.
func (m *Mutex[R]) TryLock() bool {
	locked := m.mutex.TryLock()
	if locked {
		Acquire[R]()
	}
	return locked
}

// Unlock unlocks the mutex.
func (m *Mutex[R]) Unlock() {
	Release[R]()
	m.mutex.Unlock()
}

// Acquire records that the goroutine takes, or is about to wait for, a lock that is not a
// Mutex.
func Acquire[R Rank]() {
	var r R
	one := bit(r.level())
	change(func(held set) set {
		later := held &^ (one - 1)
		if one >= bit(firstLeaf) {
			later = held &^ (bit(firstLeaf) - 1)
		}
		if later != 0 {
			panic(fmt.Sprintf("invariant: %v is taken under %v", one, later))
		}
		return held | one
	})
}

// Release records that the goroutine no longer holds it.
func Release[R Rank]() {
	var r R
	one := bit(r.level())
	change(func(held set) set {
		if held&one == 0 {
			panic(fmt.Sprintf("invariant: %v is released by a goroutine that does not hold it", one))
		}
		return held &^ one
	})
}

// Unheld runs code that a test executes in the middle of the store's work, on the store's
// goroutine, as if that goroutine held no lock. The code must not take a lock that is held.
func Unheld(fn func()) {
	var held set
	change(func(now set) set { held = now; return 0 })
	defer change(func(set) set { return held })
	fn()
}

// AssertNone is called when the store is about to call code that its user supplied.
func AssertNone(what string) {
	change(func(held set) set {
		if held != 0 {
			panic(fmt.Sprintf("invariant: %s is called under %v", what, held))
		}
		return held
	})
}

// set is the locks that one goroutine holds, one bit per rank: no goroutine holds two locks of
// the same rank.
type set uint64

func bit(l level) set { return 1 << l }

func (s set) String() string {
	var held []string
	for l, name := range names {
		if s&bit(level(l)) != 0 {
			held = append(held, name)
		}
	}
	return strings.Join(held, " and ")
}

// holders maps goroutines to the locks they hold. It has enough parts that goroutines seldom
// wait for each other.
var holders [64]struct {
	mu   sync.Mutex // guards held
	held map[uintptr]set
	_    [64]byte
}

// change changes the set of the calling goroutine.
func change(to func(held set) set) {
	g := goroutine()
	part := &holders[g>>6%uintptr(len(holders))]
	part.mu.Lock()
	defer part.mu.Unlock()
	before := part.held[g]
	switch after := to(before); {
	case after == 0 && before != 0:
		delete(part.held, g)
	case after != before:
		if part.held == nil {
			part.held = map[uintptr]set{}
		}
		part.held[g] = after
	}
}
