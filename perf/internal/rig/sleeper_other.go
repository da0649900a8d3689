//go:build !linux

package rig

import "time"

// Sleeper sleeps with the runtime's timers.
type Sleeper struct{}

// NewSleeper returns a Sleeper for the calling goroutine, which must call Close.
func NewSleeper() Sleeper { return Sleeper{} }

// Sleep returns after about d.
func (Sleeper) Sleep(d time.Duration) { time.Sleep(d) }

// Close does nothing.
func (Sleeper) Close() {}
