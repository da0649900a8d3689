//go:build !linux && !darwin && !freebsd

package vfs

import "time"

func system() FS { return unsupported{"stores are kept on linux, darwin and freebsd"} }

// What tests set elsewhere has no effect here, where nothing is ever mapped.

// SetMappingLimit does nothing here.
func SetMappingLimit(int) (restore func()) { return func() {} }

// SetQuarantineClock does nothing here.
func SetQuarantineClock(func() time.Time) (restore func()) { return func() {} }

// ReleaseExpired does nothing here.
func ReleaseExpired() error { return nil }
