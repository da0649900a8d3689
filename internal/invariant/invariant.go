// Package invariant states what must be true. Built with the tag `invariants` it
// panics where that does not hold; without, it costs nothing.
package invariant

import "fmt"

// Check panics when ok is false and the assertions are on.
func Check(ok bool, format string, args ...any) {
	if Enabled && !ok {
		panic("invariant: " + fmt.Sprintf(format, args...))
	}
}
