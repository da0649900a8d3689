package segment

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// A disk may refuse any of the reads that a record of unknown size takes: its start, its
// last byte, and the rest. Each refusal is an error of the system, and once the disk reads
// again, so does Load.
func TestLoadSaysWhichReadTheDiskRefuses(t *testing.T) {
	disk := errorfs.New(vfs.OS())
	inner, err := disk.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	a := newTestActive(t, &testDir{Dir: inner, refuse: map[string]error{}}, 0)
	value := bytes.Repeat([]byte("v"), 20_000)
	offset, size := put(t, a, 1, []byte("key"), value)
	for what, at := range map[string]int64{"start": offset, "last byte": offset + size - 1, "rest": offset + firstLoad} {
		disk.Fail(errorfs.Rule{Err: syscall.EIO, Match: func(op errorfs.Op) bool {
			return op.Kind == errorfs.Read && op.Offset == at
		}})
		var r Record
		buf, err := a.Load(&r, nil, offset, -1)
		if !errors.Is(err, syscall.EIO) || errors.Is(err, ErrBounds) || errors.Is(err, ErrChecksum) {
			t.Errorf("%s: Load: %v", what, err)
		}
		if disk.Heal(); disk.Fired() == 0 {
			t.Errorf("%s: nothing was read there", what)
		}
		if _, err = a.Load(&r, buf, offset, -1); err != nil || string(r.Key) != "key" || !bytes.Equal(r.Value, value) || !r.ValueOK() {
			t.Errorf("%s: Load behind that: key %q, %d bytes, %v", what, r.Key, len(r.Value), err)
		}
	}
	if disk.Fired() != 3 {
		t.Errorf("%d reads were refused", disk.Fired())
	}
}
