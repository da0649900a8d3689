package rig

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Sleeper sleeps in the system, on its own thread.
type Sleeper struct{}

// NewSleeper returns a Sleeper for the calling goroutine, which must call Close.
func NewSleeper() Sleeper {
	runtime.LockOSThread()
	return Sleeper{}
}

// Sleep returns after about d, or earlier if a signal interrupts it.
func (Sleeper) Sleep(d time.Duration) {
	length := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &length, nil) // the caller looks at the clock
}

// Close unlocks the thread.
func (Sleeper) Close() { runtime.UnlockOSThread() }
