//go:build !race

// Race builds read heap copies, in which nothing rots.

package mmapkv

import "testing"

func TestDamagedUnsealedFileIsAnErrorOnceSorted(t *testing.T) { damageUnsealed(t, true) }
