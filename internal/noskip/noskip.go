// Package noskip skips tests that cannot run where they are, and refuses to where
// everything must: with MMAPKV_NO_SKIP set, a skip is a failure.
package noskip

import (
	"os"
	"testing"
)

// Skip ends the test, as skipped or as failed.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("MMAPKV_NO_SKIP") != "" {
		t.Fatalf("MMAPKV_NO_SKIP is set, and this test cannot run: %s", reason)
	}
	t.Skip(reason)
}
