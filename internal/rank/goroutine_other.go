//go:build invariants && !amd64 && !arm64

package rank

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutine identifies the calling goroutine by the number in its stack trace.
func goroutine() uintptr {
	var trace [64]byte
	fields := bytes.Fields(trace[:runtime.Stack(trace[:], false)])
	number, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		panic(err)
	}
	return uintptr(number)
}
