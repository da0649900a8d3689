package mmapkv

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// callers are the functions that led to a Snapshot, the innermost one first: where their code was. To
// note them is cheap. What they mean is looked up when somebody asks.
type callers [3]uintptr

// callersOf returns the callers of the function that calls it.
func callersOf() (c callers) {
	const skipped = 3 // runtime.Callers, callersOf, and its caller
	runtime.Callers(skipped, c[:])
	return c
}

// none reports whether nobody was noted.
func (c *callers) none() bool { return c[0] == 0 }

// String returns the file and line of the innermost caller outside of this package, or of the
// innermost one if all are in it.
func (c *callers) String() string {
	n := 0
	for n < len(c) && c[n] != 0 {
		n++
	}
	last := runtime.Frame{}
	for frames := runtime.CallersFrames(c[:n]); ; {
		frame, more := frames.Next()
		if last.File == "" || !isInside(&frame) {
			last = frame
		}
		if !more || !isInside(&frame) {
			break
		}
	}
	return fmt.Sprintf("%s:%d", last.File, last.Line)
}

// isInside reports whether a function is of this package. Its tests are not: they are users.
func isInside(f *runtime.Frame) bool {
	return strings.HasPrefix(f.Function, "github.com/mmapkv/mmapkv/mmapkv.") && !strings.HasSuffix(f.File, "_test.go")
}

// age returns how old an instant is by the store's clock.
func (m *instant) age() time.Duration {
	return max(time.Duration(m.store.now().UnixMilli()-m.now)*time.Millisecond, 0)
}
