//go:build !invariants

package rank

import "sync"

// Mutex is a mutex of a rank.
type Mutex[R Rank] = sync.Mutex

// Acquire says that the goroutine takes, or is about to wait for, a lock that is
// no Mutex.
func Acquire[R Rank]() {}

// Release says that it no longer holds it.
func Release[R Rank]() {}

// Unheld runs what a test does in the middle of the store's work.
func Unheld(fn func()) { fn() }

// AssertNone is called where the store is about to call what its user gave it.
func AssertNone(what string) {}
