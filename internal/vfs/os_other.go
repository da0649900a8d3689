//go:build !linux && !darwin && !freebsd

package vfs

import "time"

func system() FS { return unsupported{"stores work on linux, darwin and freebsd"} }

// The settings below have no effect on this system, which never maps anything.

// SetMappingLimit does nothing on this system.
func SetMappingLimit(int) (restore func()) { return func() {} }

// SetQuarantineClock does nothing on this system.
func SetQuarantineClock(func() time.Time) (restore func()) { return func() {} }

// ReleaseExpired does nothing on this system.
func ReleaseExpired() error { return nil }
