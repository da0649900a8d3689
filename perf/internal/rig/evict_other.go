//go:build !linux

package rig

// CanEvict says whether Evict does anything.
const CanEvict = false

// Evict does nothing: the system has no call for it.
func Evict(string) error { return nil }
