// Package invariant asserts what must be true. With the build tag `invariants` a false
// assertion panics. Without it assertions cost nothing.
package invariant

import "fmt"

// Check panics if ok is false and assertions are enabled.
func Check(ok bool, format string, args ...any) {
	if Enabled && !ok {
		panic("invariant: " + fmt.Sprintf(format, args...))
	}
}
