package rig

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestBytesReadsWhatItPrints(t *testing.T) {
	for s, want := range map[string]Bytes{"16MiB": 16 << 20, "4KiB": 4 << 10, "1.5GiB": 3 << 29, "7B": 7, "0B": 0} {
		var got Bytes
		if err := got.Set(s); err != nil || got != want || got.String() != s {
			t.Errorf("%s: %d bytes, printed as %s, %v", s, int64(got), got, err)
		}
	}
	var b Bytes
	if err := b.Set("300"); err != nil || b != 300 {
		t.Errorf("300: %d bytes, %v", int64(b), err)
	}
	for _, s := range []string{"", "MiB", "-1KiB", "many", "1e300GiB", "NaN"} {
		if err := new(Bytes).Set(s); err == nil {
			t.Errorf("%q is accepted as a size", s)
		}
	}
}

func TestKeysHaveOneSize(t *testing.T) {
	for i, want := range map[int64]string{0: "key-000000000000", 42: "key-000000000042", 999_999_999_999: "key-999999999999"} {
		if got := string(AppendKey(nil, int(i))); got != want {
			t.Errorf("key %d is %s", i, got)
		}
	}
}

func TestLimitsTell(t *testing.T) {
	l := Limits{Out: new(bytes.Buffer)}
	l.AtMost("space", 2, 2)
	l.AtLeast("speed", 0.5, 0.5)
	if err := l.Err(); err != nil {
		t.Error(err)
	}
	for _, figure := range []float64{2.001, math.Inf(1), math.NaN()} {
		l := Limits{Out: new(bytes.Buffer)}
		l.AtMost("space", figure, 2)
		if err := l.Err(); !errors.Is(err, ErrLimit) {
			t.Errorf("%v is within the limit", figure)
		}
	}
}

func TestAllocatedCountsBlocks(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := Allocated(dir)
	if err != nil || len(files) != 1 || files["full"] < 64<<10 {
		t.Errorf("%v, %v", files, err)
	}
}
