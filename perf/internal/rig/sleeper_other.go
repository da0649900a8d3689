//go:build !linux

package rig

import "time"

// Sleeper sleeps with the runtime's timers.
type Sleeper struct{}

// NewSleeper is for this goroutine, which calls Close in the end.
func NewSleeper() Sleeper { return Sleeper{} }

// Sleep returns after about d.
func (Sleeper) Sleep(d time.Duration) { time.Sleep(d) }

// Close does nothing.
func (Sleeper) Close() {}
