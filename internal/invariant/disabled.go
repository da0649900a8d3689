//go:build !invariants

package invariant

// Enabled is whether assertions are enabled.
const Enabled = false
