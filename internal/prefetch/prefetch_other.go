//go:build !amd64 && !arm64

package prefetch

import "unsafe"

func Line(unsafe.Pointer) {}

func Lines([]unsafe.Pointer) {}
