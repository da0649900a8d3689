//go:build !linux

package main

import "time"

// sleeper sleeps in the runtime.
type sleeper struct{}

func newSleeper() sleeper { return sleeper{} }

func (sleeper) sleep(d time.Duration) { time.Sleep(d) }

func (sleeper) close() {}
