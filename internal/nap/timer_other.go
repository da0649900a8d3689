//go:build !linux

package nap

import "time"

// timer leaves waiting to the runtime's timers.
type timer struct{}

func (*timer) wait(time.Duration) bool { return false }

func (*timer) close() {}
