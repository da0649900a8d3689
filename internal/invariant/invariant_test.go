package invariant

import "testing"

func TestCheckPanicsOnlyWhenEnabledAndBroken(t *testing.T) {
	for _, ok := range []bool{true, false} {
		func() {
			defer func() {
				var want any
				if Enabled && !ok {
					want = "invariant: 1 is not 2"
				}
				if r := recover(); r != want {
					t.Errorf("Check(%v) panicked with %v, want %v", ok, r, want)
				}
			}()
			Check(ok, "%d is not %d", 1, 2)
		}()
	}
}
