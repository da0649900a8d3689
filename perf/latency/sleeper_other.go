//go:build !linux

package main

import "time"

// sleeper sleeps with the runtime's timers.
type sleeper struct{}

func newSleeper() sleeper { return sleeper{} }

func (sleeper) sleep(d time.Duration) { time.Sleep(d) }

func (sleeper) close() {}
