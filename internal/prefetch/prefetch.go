//go:build amd64 || arm64

// Package prefetch asks for memory that is needed soon: the processor for cache
// lines, the system for pages.
//
// A random read of a large table waits some hundred nanoseconds for memory, in
// which the processor could have begun a dozen others. So whoever knows several
// addresses asks for all of them first, and uses them afterwards.
package prefetch

import "unsafe"

// Line asks for the cache line at p and does not wait for it. It reads nothing: an
// address whose page is not there, or not in memory, does no harm. On processors
// other than amd64 and arm64 it does nothing.
//
//go:noescape
func Line(p unsafe.Pointer)

// Lines asks for the cache lines at all of the pointers. It is faster than as many
// calls of Line: a processor goes on behind a request whose page it has to look up
// first, but not far, so that the requests that it is to look up together must be
// near each other.
//
//go:noescape
func Lines(ps []unsafe.Pointer)
