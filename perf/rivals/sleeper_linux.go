package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper sleeps in the system, on a thread of its own, which the kernel wakes up
// without its usual slack of 50 µs.
type sleeper struct{}

const usualSlack = 0 // gives a thread back the slack that it began with

func newSleeper() sleeper {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // with the slack all are later
	return sleeper{}
}

// sleep returns after about d, or earlier when a signal interrupts it.
func (sleeper) sleep(d time.Duration) {
	length := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &length, nil) // the caller looks at the clock
}

func (sleeper) close() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, usualSlack, 0, 0, 0)
	runtime.UnlockOSThread()
}
