package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper sleeps in the system, on its own thread, which the kernel wakes up without
// the usual slack of 50 µs.
type sleeper struct{}

const usualSlack = 0 // restores the slack that the thread began with

func newSleeper() sleeper {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // if this fails, every wake-up is later
	return sleeper{}
}

// sleep returns after about d, or earlier if a signal interrupts it.
func (sleeper) sleep(d time.Duration) {
	length := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &length, nil) // the caller looks at the clock
}

func (sleeper) close() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, usualSlack, 0, 0, 0)
	runtime.UnlockOSThread()
}
