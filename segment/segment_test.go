package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// testDir is an empty directory of the real file system, in which every call on a file can be made
// to fail.
type testDir struct {
	vfs.Dir
	refuse map[string]error // by operation
	short  int              // how many bytes WriteAt writes before it refuses
	calls  []string         // of Allocate and Datasync
	writes []string         // of WriteAt: from, to
	slow   bool             // SlowFirstWrite
	open   atomic.Int64     // files and mappings
}

func newTestDir(t testing.TB) *testDir {
	dir, err := vfs.OS().OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return &testDir{Dir: dir, refuse: map[string]error{}}
}

func (d *testDir) Create(name string) (vfs.File, error) {
	if err := d.refuse["create"]; err != nil {
		return nil, err
	}
	f, err := d.Dir.Create(name)
	if err != nil {
		return nil, err
	}
	d.open.Add(1)
	return &testFile{f, d}, nil
}

type testFile struct {
	vfs.File
	dir *testDir
}

func (f *testFile) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.dir.refuse["read"]; err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, offset)
}

func (f *testFile) WriteAt(p []byte, offset int64) (int, error) {
	f.dir.writes = append(f.dir.writes, fmt.Sprint(offset, offset+int64(len(p))))
	err := f.dir.refuse["write"]
	if err == nil {
		return f.File.WriteAt(p, offset)
	}
	n := min(f.dir.short, len(p))
	f.dir.short -= n
	if n > 0 {
		return f.File.WriteAt(p[:n], offset)
	}
	return 0, err
}

func (f *testFile) Allocate(size int64) error {
	f.dir.calls = append(f.dir.calls, fmt.Sprintf("allocate %d", size))
	if err := f.dir.refuse["allocate"]; err != nil {
		return err
	}
	if err := f.dir.refuse[fmt.Sprintf("allocate %d", size)]; err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f *testFile) SlowFirstWrite() bool { return f.dir.slow }

func (f *testFile) Truncate(size int64) error {
	if err := f.dir.refuse["truncate"]; err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *testFile) Datasync() error {
	f.dir.calls = append(f.dir.calls, "datasync")
	if err := f.dir.refuse["datasync"]; err != nil {
		return err
	}
	return f.File.Datasync()
}

func (f *testFile) Map(size int64) (vfs.Mapping, error) {
	if err := f.dir.refuse["map"]; err != nil {
		return nil, err
	}
	m, err := f.File.Map(size)
	if err != nil {
		return nil, err
	}
	f.dir.open.Add(1)
	return &testMapping{m, f.dir}, nil
}

func (f *testFile) Close() error {
	f.dir.open.Add(-1)
	return errors.Join(f.dir.refuse["close"], f.File.Close())
}

type testMapping struct {
	vfs.Mapping
	dir *testDir
}

func (m *testMapping) Unmap() error {
	m.dir.open.Add(-1)
	return errors.Join(m.dir.refuse["unmap"], m.Mapping.Unmap())
}

const testMapSize = 1 << 20

var testHeader = Header{ID: 7, Salt: 0x0123456789abcdef, Kind: Log}

// newTestActive creates a segment. With mapSize 0 it is not mapped.
func newTestActive(t testing.TB, dir *testDir, mapSize int64) *Active {
	t.Helper()
	a, err := Create(dir, testHeader, mapSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Retire)
	return a
}

// put appends and publishes one record, and returns where it is.
func put(t testing.TB, a *Active, seq uint64, key, value []byte) (offset, size int64) {
	t.Helper()
	var d Draft
	d.Put(key, value, 0)
	offset = a.End()
	record := d.Finish(Placement{Salt: a.Salt, Offset: offset, Seq: seq})
	if err := a.Preallocate(offset+int64(len(record)), 64<<10, testMapSize); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Append(record); err != nil || n != len(record) {
		t.Fatalf("Append wrote %d of %d: %v", n, len(record), err)
	}
	a.SetLimit(a.End())
	return offset, int64(len(record))
}

// read reads a record both ways, with Record and with Load, and wants equal results.
func read(t testing.TB, s *Segment, offset, size int64) (Record, error) {
	t.Helper()
	var loaded, mapped Record
	_, err := s.Load(&loaded, nil, offset, size)
	if s.Memory() == nil {
		return loaded, err
	}
	if mappedErr := s.Record(&mapped, offset, size); mappedErr != err {
		t.Errorf("Record(%d, %d): %v, Load: %v", offset, size, mappedErr, err)
	}
	if err == nil && (loaded.Seq != mapped.Seq || !bytes.Equal(loaded.Key, mapped.Key) || !bytes.Equal(loaded.Value, mapped.Value) ||
		loaded.ValueOK() != mapped.ValueOK()) {
		t.Errorf("Record(%d, %d) and Load differ", offset, size)
	}
	mapped.Key, mapped.Value = bytes.Clone(mapped.Key), bytes.Clone(mapped.Value)
	return mapped, err
}

func TestRecordsAreReadAsTheyWereAppended(t *testing.T) {
	for _, mapSize := range []int64{testMapSize, 0} {
		a := newTestActive(t, newTestDir(t), mapSize)
		if mapped := a.Memory() != nil; mapped != (mapSize > 0) {
			t.Errorf("mapped: %v", mapped)
		}
		type place struct{ offset, size int64 }
		var places []place
		lengths := []int{0, 1, 7, 8, 100, firstLoad - 40, firstLoad, firstLoad + 1, 70_000}
		for i, length := range lengths {
			offset, size := put(t, a, uint64(i+1), fmt.Append(nil, i), bytes.Repeat([]byte{byte(i)}, length))
			places = append(places, place{offset, size})
		}
		for i, p := range places {
			for _, size := range []int64{p.size, -1} {
				r, err := read(t, a.Segment, p.offset, size)
				if err != nil || r.Seq != uint64(i+1) || string(r.Key) != fmt.Sprint(i) ||
					!bytes.Equal(r.Value, bytes.Repeat([]byte{byte(i)}, lengths[i])) {
					t.Errorf("record %d with size %d: %v, seq %d, key %q, %d bytes", i, size, err, r.Seq, r.Key, len(r.Value))
				}
			}
		}
	}
}

func TestReadsStayInBounds(t *testing.T) {
	for _, mapSize := range []int64{testMapSize, 0} {
		a := newTestActive(t, newTestDir(t), mapSize)
		first, size := put(t, a, 1, []byte("a"), []byte("one"))
		second, _ := put(t, a, 2, []byte("b"), []byte("two"))
		for _, test := range []struct{ offset, size int64 }{
			{-1, size}, {-8, -1}, {math.MinInt64, size}, {math.MaxInt64, size}, {math.MaxInt64 - 7, -1},
			{a.End(), -1}, {a.End(), 0}, {a.End() - 8, 8}, {a.End() - 8, -1}, {testMapSize, 8}, {testMapSize + 8, -1},
			{first, 0}, {first, 8}, {first, size - 8}, {first, size + 8}, {first, math.MaxInt64},
			{second, size + 1}, {second, size + 8},
		} {
			if _, err := read(t, a.Segment, test.offset, test.size); !errors.Is(err, ErrBounds) {
				t.Errorf("reading %d bytes at %d: %v", test.size, test.offset, err)
			}
		}
		for _, offset := range []int64{0, first + 8, second - 8} {
			if _, err := read(t, a.Segment, offset, -1); err == nil {
				t.Errorf("there is a record at %d", offset)
			}
		}
	}
}

func TestReadsStayBelowTheLimit(t *testing.T) {
	for _, mapSize := range []int64{testMapSize, 0} {
		a := newTestActive(t, newTestDir(t), mapSize)
		offset, size := put(t, a, 1, []byte("key"), []byte("value"))
		end := a.Limit()
		for limit := offset - 8; limit < end; limit++ {
			a.SetLimit(limit)
			for _, size := range []int64{size, -1} {
				if _, err := read(t, a.Segment, offset, size); !errors.Is(err, ErrBounds) {
					t.Fatalf("reading %d bytes at %d with the limit at %d: %v", size, offset, limit, err)
				}
			}
		}
		a.SetLimit(end)
		if _, err := read(t, a.Segment, offset, size); err != nil {
			t.Error(err)
		}
	}
}

func TestLimitIsNeverBehindTheMapping(t *testing.T) {
	a := newTestActive(t, newTestDir(t), 4096)
	a.SetLimit(1 << 40)
	if got := a.Limit(); got != 4096 {
		t.Errorf("the limit is %d", got)
	}
	if len(a.Memory()) != 4096 || cap(a.Memory()) != 4096 {
		t.Errorf("the memory has %d bytes of %d", len(a.Memory()), cap(a.Memory()))
	}
}

func TestUnmappedRecordIsNotInMemory(t *testing.T) {
	a := newTestActive(t, newTestDir(t), 0)
	offset, size := put(t, a, 1, []byte("key"), []byte("value"))
	var r Record
	if err := a.Record(&r, offset, size); !errors.Is(err, ErrBounds) {
		t.Errorf("Record: %v", err)
	}
}

func TestSegmentIsReadWithoutAMappingToSpare(t *testing.T) {
	for _, limit := range []error{vfs.ErrMappingLimit, syscall.ENOMEM} {
		dir := newTestDir(t)
		dir.refuse["map"] = &fs.PathError{Op: "mmap", Path: "x", Err: limit}
		a := newTestActive(t, dir, testMapSize)
		if a.Memory() != nil {
			t.Error("the segment is mapped")
		}
		offset, size := put(t, a, 1, []byte("key"), []byte("value"))
		if r, err := read(t, a.Segment, offset, size); err != nil || string(r.Value) != "value" {
			t.Errorf("Load: %v, %q", err, r.Value)
		}
	}
}

func TestLoadUsesTheCallersBuffer(t *testing.T) {
	a := newTestActive(t, newTestDir(t), 0)
	offset, size := put(t, a, 1, []byte("key"), bytes.Repeat([]byte("v"), 20_000))
	buf := make([]byte, 0, size)
	for _, size := range []int64{size, -1} {
		var r Record
		allocations := testing.AllocsPerRun(100, func() {
			var err error
			if buf, err = a.Load(&r, buf, offset, size); err != nil {
				t.Error(err)
			}
		})
		if allocations != 0 {
			t.Errorf("%v allocations", allocations)
		}
		if &r.Value[0] != &buf[:cap(buf)][r.Size-padded(20_003)+3] {
			t.Error("the value does not lie in the buffer")
		}
	}
}

func TestLoadAllocatesNoMoreThanTheFileHolds(t *testing.T) {
	a := newTestActive(t, newTestDir(t), 0)
	offset, size := put(t, a, 1, []byte("key"), []byte("value"))
	// A header that promises 4 GiB.
	if _, err := a.Handle().WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, offset+valueSizeAt); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{size, -1} {
		var r Record
		buf, err := a.Load(&r, nil, offset, size)
		if !errors.Is(err, ErrBounds) || cap(buf) > firstLoad {
			t.Errorf("Load: %v with a buffer of %d", err, cap(buf))
		}
	}
}

func TestLoadAllocatesNoMoreThanACutFileHas(t *testing.T) {
	a := newTestActive(t, newTestDir(t), 0)
	offset, size := put(t, a, 1, []byte("key"), make([]byte, 10*firstLoad))
	if err := a.Handle().Truncate(offset + size - 1); err != nil {
		t.Fatal(err)
	}
	var r Record
	buf, err := a.Load(&r, nil, offset, -1)
	if !errors.Is(err, ErrBounds) || cap(buf) > firstLoad {
		t.Errorf("Load: %v with a buffer of %d", err, cap(buf))
	}
}

func TestLoadTellsDamageFromTheSystemsErrors(t *testing.T) {
	dir := newTestDir(t)
	a := newTestActive(t, dir, 0)
	offset, size := put(t, a, 1, []byte("key"), bytes.Repeat([]byte("v"), 20_000))
	dir.refuse["read"] = syscall.EIO
	var r Record
	if _, err := a.Load(&r, nil, offset, size); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrBounds) {
		t.Errorf("a read that the system fails: %v", err)
	}
	delete(dir.refuse, "read")
	for _, length := range []int64{offset + 10_000, offset + 10, offset} {
		if err := a.Handle().Truncate(length); err != nil {
			t.Fatal(err)
		}
		for _, size := range []int64{size, -1} {
			if _, err := a.Load(&r, nil, offset, size); !errors.Is(err, ErrBounds) {
				t.Errorf("a file truncated to %d: %v", length, err)
			}
		}
	}
	if err := a.Handle().Truncate(offset); err != nil {
		t.Fatal(err)
	}
	if err := a.Handle().Truncate(offset + size); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Load(&r, nil, offset, size); !errors.Is(err, ErrChecksum) {
		t.Errorf("a file of zeros: %v", err)
	}
}

func TestMappedRecordAllocatesNothing(t *testing.T) {
	a := newTestActive(t, newTestDir(t), testMapSize)
	offset, size := put(t, a, 1, []byte("key"), []byte("value"))
	var r Record
	if got := testing.AllocsPerRun(1000, func() {
		if err := a.Record(&r, offset, size); err != nil {
			t.Error(err)
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestSegmentThatCannotBeMappedClosesItsFile(t *testing.T) {
	dir := newTestDir(t)
	f, err := dir.Create("x")
	if err != nil {
		t.Fatal(err)
	}
	dir.refuse["map"] = syscall.EACCES
	held := Held()
	if _, err := OpenSegment(f, testHeader, testMapSize); !errors.Is(err, syscall.EACCES) {
		t.Errorf("OpenSegment: %v", err)
	}
	if dir.open.Load() != 0 || Held() > held {
		t.Errorf("%d files open, %d segments held", dir.open.Load(), Held()-held)
	}
}

func BenchmarkRecord(b *testing.B) {
	a := newTestActive(b, newTestDir(b), testMapSize)
	offset, size := put(b, a, 1, []byte("0123456789abcdef"), make([]byte, 128))
	var r Record
	for b.Loop() {
		if err := a.Record(&r, offset, size); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	a := newTestActive(b, newTestDir(b), 0)
	offset, size := put(b, a, 1, []byte("0123456789abcdef"), make([]byte, 128))
	var r Record
	var buf []byte
	for b.Loop() {
		var err error
		if buf, err = a.Load(&r, buf, offset, size); err != nil {
			b.Fatal(err)
		}
	}
}
