package rig

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Sleeper sleeps in the system, on a thread of its own.
type Sleeper struct{}

// NewSleeper is for this goroutine, which calls Close in the end.
func NewSleeper() Sleeper {
	runtime.LockOSThread()
	return Sleeper{}
}

// Sleep returns after about d, or earlier when a signal interrupts it.
func (Sleeper) Sleep(d time.Duration) {
	length := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &length, nil) // the caller looks at the clock
}

// Close gives the thread back.
func (Sleeper) Close() { runtime.UnlockOSThread() }
