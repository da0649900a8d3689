package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"testing"
)

func TestCreateMakesAFileWithItsHeader(t *testing.T) {
	dir := newTestDir(t)
	h := Header{ID: 9, Salt: 5, Kind: Merged, Replaces: []ID{3, 4}}
	a, err := Create(dir, h, testMapSize)
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != 9 || a.Salt != 5 || a.Kind != Merged || a.End() != h.Size() || a.Limit() != h.Size() || a.Allocated() != h.Size() {
		t.Errorf("segment %d of kind %d with salt %d: end %d, limit %d, allocated %d", a.ID, a.Kind, a.Salt, a.End(), a.Limit(), a.Allocated())
	}
	size, err := a.Handle().Size()
	if err != nil || size != h.Size() {
		t.Errorf("the file has %d bytes, %v", size, err)
	}
	if got, err := ReadHeader(a.Handle(), size); err != nil || fmt.Sprint(got) != fmt.Sprint(h) {
		t.Errorf("the header is %v, %v", got, err)
	}
	if _, err := Create(dir, h, testMapSize); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second Create: %v", err)
	}
	if names, err := dir.Names(); err != nil || !slices.Equal(names, []string{FileName(9)}) {
		t.Errorf("a refused Create left %q, %v", names, err)
	}
}

func TestCreateLeavesNothingWhenAStepFails(t *testing.T) {
	for _, step := range []string{"create", "write", "map"} {
		for _, short := range []int{0, 10} {
			dir := newTestDir(t)
			dir.refuse[step], dir.short = syscall.EIO, short
			held := Held()
			if _, err := Create(dir, testHeader, testMapSize); !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: %v", step, err)
			}
			if names, err := dir.Names(); err != nil || len(names) != 0 {
				t.Errorf("%s: the directory has %q, %v", step, names, err)
			}
			if dir.open.Load() != 0 || Held() > held {
				t.Errorf("%s: %d files open, %d segments more held", step, dir.open.Load(), Held()-held)
			}
		}
	}
}

func TestReserveGrowsInSteps(t *testing.T) {
	const step, maxSize = 64 << 10, 1 << 20
	dir := newTestDir(t)
	a := newTestActive(t, dir, testMapSize)
	dir.calls = nil
	for _, test := range []struct{ end, want int64 }{
		{HeaderSize + 1, step},
		{step, step},
		{step + 1, 2 * step},
		{5 * step, 8 * step},
		{8*step + 1, maxSize},
		{maxSize, maxSize},
		{maxSize + 1, maxSize + 1}, // one record larger than the maximum
	} {
		if err := a.Preallocate(test.end, step, maxSize); err != nil || a.Allocated() != test.want {
			t.Errorf("Preallocate(%d): %v, %d allocated, want %d", test.end, err, a.Allocated(), test.want)
		}
		if size, err := a.Handle().Size(); err != nil || size != test.want {
			t.Errorf("the file has %d bytes, %v", size, err)
		}
	}
	want := []string{"allocate 65536", "allocate 131072", "allocate 524288", "allocate 1048576", "allocate 1048577"}
	if !slices.Equal(dir.calls, want) {
		t.Errorf("calls %q, want %q", dir.calls, want)
	}
}

func TestReserveTakesLessFromAFullDisk(t *testing.T) {
	const step, maxSize = 64 << 10, 1 << 20
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		dir := newTestDir(t)
		a := newTestActive(t, dir, testMapSize)
		dir.calls = nil
		dir.refuse["allocate 65536"] = full
		if err := a.Preallocate(5000, step, maxSize); err != nil || a.Allocated() != 8192 {
			t.Errorf("%v: Preallocate: %v, %d allocated", full, err, a.Allocated())
		}
		dir.refuse["allocate"] = full
		if err := a.Preallocate(8193, step, maxSize); !errors.Is(err, full) || a.Allocated() != 8192 {
			t.Errorf("%v: Preallocate: %v, %d allocated", full, err, a.Allocated())
		}
		if err := a.Preallocate(8192, step, maxSize); err != nil {
			t.Errorf("%v: the reserved room is gone: %v", full, err)
		}
		want := []string{"allocate 65536", "allocate 8192", "allocate 65536", "allocate 12288"}
		if !slices.Equal(dir.calls, want) {
			t.Errorf("%v: calls %q, want %q", full, dir.calls, want)
		}
	}
}

func TestReserveDoesNotInsistAfterAnError(t *testing.T) {
	dir := newTestDir(t)
	a := newTestActive(t, dir, testMapSize)
	dir.calls = nil
	dir.refuse["allocate"] = syscall.EIO
	if err := a.Preallocate(5000, 64<<10, 1<<20); !errors.Is(err, syscall.EIO) || len(dir.calls) != 1 {
		t.Errorf("Preallocate: %v after %q", err, dir.calls)
	}
}

func TestFailedAppendLeavesNothingThatValidates(t *testing.T) {
	key, value := []byte("key"), bytes.Repeat([]byte("v"), 100)
	for _, short := range []int{0, 1, 24, 25, 80, 127} {
		dir := newTestDir(t)
		a := newTestActive(t, dir, testMapSize)
		put(t, a, 1, key, value)
		end := a.End()

		var d Draft
		d.Put(key, value, 0)
		record := d.Finish(Placement{Salt: a.Salt, Offset: end, Seq: 2})
		if err := a.Preallocate(end+int64(len(record)), 64<<10, testMapSize); err != nil {
			t.Fatal(err)
		}
		dir.refuse["write"], dir.short = syscall.ENOSPC, short
		written, err := a.Append(record)
		if !errors.Is(err, syscall.ENOSPC) || written != short {
			t.Errorf("Append wrote %d, want %d: %v", written, short, err)
		}
		if a.End() != end || a.Limit() != end {
			t.Errorf("End moved from %d to %d, the limit to %d", end, a.End(), a.Limit())
		}
		delete(dir.refuse, "write")
		if err := a.Trim(); err != nil {
			t.Errorf("Trim: %v", err)
		}
		if size, err := a.Handle().Size(); err != nil || size != end {
			t.Errorf("the file has %d bytes, %v, but its records end at %d", size, err, end)
		}
		if err := a.Preallocate(end+int64(len(record)), 64<<10, testMapSize); err != nil {
			t.Fatal(err)
		}
		if offset, size := put(t, a, 3, key, value); offset != end {
			t.Errorf("the next record is at %d, not at %d", offset, end)
		} else if r, err := read(t, a.Segment, offset, size); err != nil || r.Seq != 3 {
			t.Errorf("the next record has number %d, %v", r.Seq, err)
		}
	}
}

func TestTrimNeverExtendsTheFile(t *testing.T) {
	a := newTestActive(t, newTestDir(t), testMapSize)
	put(t, a, 1, []byte("key"), make([]byte, 5000))
	if err := a.Handle().Truncate(HeaderSize); err != nil {
		t.Fatal(err)
	}
	if err := a.Trim(); err != nil {
		t.Fatal(err)
	}
	if size, err := a.Handle().Size(); err != nil || size != HeaderSize {
		t.Errorf("the file has %d bytes, %v", size, err)
	}
}

func TestAppendBeyondTheReservationPanics(t *testing.T) {
	a := newTestActive(t, newTestDir(t), testMapSize)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	a.Append(make([]byte, 8))
}

func TestErrorsNameTheFile(t *testing.T) {
	dir := newTestDir(t)
	a := newTestActive(t, dir, testMapSize)
	put(t, a, 1, []byte("key"), []byte("value"))
	for _, op := range []string{"allocate", "write", "datasync", "truncate"} {
		dir.refuse[op] = syscall.EIO
	}
	_, appendErr := a.Append(make([]byte, 8))
	for name, err := range map[string]error{
		"Preallocate": a.Preallocate(1<<18, 64<<10, 1<<20), "Append": appendErr, "Sync": a.Sync(), "Trim": a.Trim(),
	} {
		if !errors.Is(err, syscall.EIO) || !bytes.Contains([]byte(err.Error()), []byte(FileName(a.ID))) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTrimmedFileIsReopened(t *testing.T) {
	dir := newTestDir(t)
	a := newTestActive(t, dir, testMapSize)
	first, size := put(t, a, 1, []byte("a"), []byte("one"))
	if a.Allocated() <= a.End() {
		t.Fatal("nothing to trim")
	}
	if err := errors.Join(a.Sync(), a.Trim(), a.Sync()); err != nil {
		t.Fatal(err)
	}
	if length, err := a.Handle().Size(); err != nil || length != a.End() || a.Allocated() != a.End() {
		t.Errorf("trimmed to %d at %d, %d allocated, %v", length, a.End(), a.Allocated(), err)
	}

	f, err := dir.Open(FileName(a.ID))
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenSegment(f, testHeader, testMapSize)
	if err != nil {
		t.Fatal(err)
	}
	b := NewActive(s, a.End())
	second, _ := put(t, b, 2, []byte("b"), []byte("two"))
	if second != first+size {
		t.Errorf("the second record is at %d, the first ends at %d", second, first+size)
	}
	for offset, want := range map[int64]string{first: "one", second: "two"} {
		if r, err := read(t, s, offset, -1); err != nil || string(r.Value) != want {
			t.Errorf("%q at %d, %v, want %q", r.Value, offset, err, want)
		}
	}
}

// Fill writes zeros once after the end of the log, up to its step but not past the reserved room.
// It changes nothing else, even when it fails.
func TestFillWritesZerosBehindTheLog(t *testing.T) {
	const step, small = fillStep, 1000
	dir := newTestDir(t)
	dir.slow = true
	a := newTestActive(t, dir, 5*step)
	reserve := func(to int64) {
		t.Helper()
		if err := a.Preallocate(to, 4<<10, to); err != nil {
			t.Fatal(err)
		}
	}
	fill := func(n int64, want ...string) {
		t.Helper()
		end := a.End()
		dir.writes = nil
		if err := a.Fill(n); err != nil {
			t.Error(err)
		}
		if !slices.Equal(dir.writes, want) {
			t.Errorf("Fill(%d) at %d wrote %q, want %q", n, end, dir.writes, want)
		}
		if a.End() != end {
			t.Fatalf("Fill moved the end of the log from %d to %d", end, a.End())
		}
	}
	write := func(n int64) {
		t.Helper()
		if _, err := a.Append(bytes.Repeat([]byte{1}, int(n))); err != nil {
			t.Fatal(err)
		}
	}
	reserve(3*step + 8000)
	begin := a.End()
	smallOnes := func() {
		for range fillAfter {
			fill(small)
		}
	}
	smallOnes()
	fill(small, fmt.Sprint(begin, begin+step))
	write(small)
	fill(small)
	write(step - small - 100)
	fill(100)
	fill(101, fmt.Sprint(begin+step, begin+2*step-100)) // zeros are not written twice
	fill(maxFillSize)
	write(101)
	if err := a.Trim(); err != nil {
		t.Fatal(err)
	}
	reserve(3*step + 8000)
	fill(small, fmt.Sprint(begin+step+1, begin+2*step+1)) // Trim removed the zeros
	write(step + 10_000)
	fill(maxFillSize + 1)
	smallOnes()
	end := begin + 2*step + 10_001

	dir.refuse["write"], dir.short, dir.writes = syscall.EIO, 100, nil
	if err := a.Fill(small); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if want := []string{fmt.Sprint(end, 3*step+8000), fmt.Sprint(end+100, 3*step+8000)}; !slices.Equal(dir.writes, want) {
		t.Errorf("it tried %q, want %q", dir.writes, want)
	}
	delete(dir.refuse, "write")
	fill(small, fmt.Sprint(end, 3*step+8000))
	write(small)

	reserve(4*step + 8000)
	write(step - 10_000)
	dir.refuse["write"], dir.writes = syscall.EFBIG, nil
	for range 2 {
		if err := a.Fill(maxFillSize); err != nil {
			t.Errorf("no room for zeros: %v", err)
		}
	}
	if want := []string{fmt.Sprint(3*step+8000, a.End()+step)}; !slices.Equal(dir.writes, want) {
		t.Errorf("it tried %q, want %q", dir.writes, want)
	}
	delete(dir.refuse, "write")

	content := make([]byte, 3*step+8000)
	if n, err := a.Handle().ReadAt(content, 0); n != len(content) {
		t.Fatal(n, err)
	}
	if log := content[begin:a.End()]; bytes.Count(log, []byte{1}) != len(log) {
		t.Error("the log has changed")
	}
	if rest := content[a.End():]; bytes.Count(rest, []byte{0}) != len(rest) {
		t.Error("not all bytes after the log are zeros")
	}
}

func TestFillWritesNothingWhereFirstWritesAreFast(t *testing.T) {
	dir := newTestDir(t)
	a := newTestActive(t, dir, 1<<20)
	if err := a.Preallocate(1<<20, 1<<20, 1<<20); err != nil {
		t.Fatal(err)
	}
	dir.writes = nil
	for range fillAfter + 1 {
		if err := a.Fill(100); err != nil || len(dir.writes) > 0 {
			t.Errorf("%v, %q", err, dir.writes)
		}
	}
}
