//go:build !linux

package nap

import "time"

// timer is what the runtime has.
type timer struct{}

func (*timer) wait(time.Duration) bool { return false }

func (*timer) close() {}
