package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper sleeps in the system, on a thread of its own.
type sleeper struct{}

func newSleeper() sleeper {
	runtime.LockOSThread()
	return sleeper{}
}

// sleep returns after about d, or earlier when a signal interrupts it.
func (sleeper) sleep(d time.Duration) {
	length := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &length, nil) // the caller looks at the clock
}

func (sleeper) close() { runtime.UnlockOSThread() }
