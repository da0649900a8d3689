//go:build !linux

package prefetch

// Pages does nothing on this system.
func Pages[T any]([]T) {}
