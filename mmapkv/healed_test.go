//go:build !race

// Race builds read heap copies, which do not fault.

package mmapkv

import (
	"errors"
	"os"
	"testing"

	"github.com/mmapkv/mmapkv/internal/guard"
)

// An I/O error may be transient: the page that faulted may be readable again when isFault
// looks at it. No caller was given the memory, so none can have written to it.
func TestFaultThatHealsAtOnceIsAnError(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, tiny())
	put(t, s, "a", "value")
	name := segmentFiles(t, dir)[0]
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f := found{store: s, file: s.catalog.Set().Order[0]}
	defer f.release()
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	fault := func() (recovered any) {
		old := guard.Enter()
		defer func() {
			guard.Leave(old)
			recovered = recover()
		}()
		return f.load(s.catalog.Set(), 0)
	}()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		shown bool
		dst   []byte
		want  bool
	}{
		"a read of ours":                   {want: true},
		"a callback, which may write":      {shown: true},
		"the caller's memory is the value": {dst: f.file.Memory()},
	} {
		f.shown, f.dst = test.shown, test.dst
		var err error
		if got := f.isFault(fault, &err); got != test.want || got != errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: fault %v, %v", what, got, err)
		}
	}
	wantValue(t, s, "a", "value")
}
