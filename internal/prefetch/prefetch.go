//go:build amd64 || arm64

// Package prefetch requests memory that is needed soon: cache lines from the processor, pages
// from the system.
//
// A random read of a large table waits some hundred nanoseconds for memory. In that time the
// processor could have started a dozen more reads. So code that knows several addresses
// requests them all first, and uses them afterwards.
package prefetch

import "unsafe"

// Line requests the cache line at p and does not wait for it. It reads nothing: an address
// whose page is unmapped, or not in memory, does no harm. On processors other than amd64 and
// arm64 it does nothing.
//
//go:noescape
func Line(p unsafe.Pointer)

// Lines requests the cache lines at all of the pointers. It is faster than calling Line for
// each: a processor runs on past a request whose page it must look up first, but not far, so
// requests overlap their lookups only if they are close together in the code.
//
//go:noescape
func Lines(ps []unsafe.Pointer)
