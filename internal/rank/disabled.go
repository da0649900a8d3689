//go:build !invariants

package rank

import "sync"

// Mutex is a mutex with a rank.
type Mutex[R Rank] = sync.Mutex

// Acquire records that the goroutine takes, or is about to wait for, a lock that is not a
// Mutex.
func Acquire[R Rank]() {}

// Release records that the goroutine no longer holds it.
func Release[R Rank]() {}

// Unheld runs code that a test executes in the middle of the store's work.
func Unheld(fn func()) { fn() }

// AssertNone is called when the store is about to call code that its user supplied.
func AssertNone(what string) {}
