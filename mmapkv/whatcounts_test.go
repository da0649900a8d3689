package mmapkv

import (
	"errors"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// unclosedLog is a store as SIGKILL leaves it, with two unsealed files. Its records have
// the numbers 1 to 210. Those up to 100 are known to be on disk, 201 to 205 are a batch,
// and the last five are in the second file.
type unclosedLog struct {
	dir     string
	entries []entryPlace // by number
}

type entryPlace struct {
	file   string
	offset int64
}

const (
	unclosedSize  = 50
	unclosedFirst = 206 // in the second file
)

func newUnclosedLog(t *testing.T) *unclosedLog {
	t.Helper()
	dir := t.TempDir()
	o := byHand()
	o.Sync = fsync.Never
	o.SegmentSize = 1 << 20
	inject.Into(o, &inject.Seams{Manual: true}) // nobody seals the first file
	s := open(t, dir, o)
	l := &unclosedLog{entries: make([]entryPlace, 1)}
	fill(t, s, 1, 101, unclosedSize)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 101, 201, unclosedSize)
	var b Batch
	for i := 201; i <= 205; i++ {
		key, value := numbered(i, unclosedSize)
		b.Put(key, value)
	}
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	l.note(t, dir, s)
	s.group.Exclusive(func() {
		if err := s.rotate(100, false); err != nil {
			t.Error(err)
		}
	})
	fill(t, s, unclosedFirst, 211, unclosedSize)
	l.note(t, dir, s)
	l.dir = killed(t, s, dir)
	return l
}

// note remembers where the records of the tail are.
func (l *unclosedLog) note(t *testing.T, dir string, s *Store) {
	t.Helper()
	f := s.tail.file
	for _, e := range entriesOf(t, dir, segment.SegmentInfo{ID: f.ID, Salt: f.Salt, End: s.tail.end}) {
		l.entries = append(l.entries, entryPlace{segment.FileName(f.ID), e.Offset})
	}
}

// damaged is a copy in which the headers, or the values, of some records are damaged.
func (l *unclosedLog) damaged(t *testing.T, headers, values []int) (dir string) {
	t.Helper()
	dir = copyDir(t, l.dir)
	for _, i := range headers {
		flipAt(t, dir, l.entries[i].file, l.entries[i].offset+9)
	}
	for _, i := range values {
		flipAt(t, dir, l.entries[i].file, l.entries[i].offset+60)
	}
	return dir
}

// unclosedCases are what can be wrong, and what counts then: all records up to the last
// one but those that are lost. damages is how many places are damaged.
var unclosedCases = []struct {
	name            string
	headers, values []int // of these records are damaged
	last            int
	lost            []int
	damages         int
}{
	{"nothing is wrong", nil, nil, 210, nil, 0},
	{"damage", []int{50}, nil, 210, []int{50}, 1},
	{"a damaged value", nil, []int{50}, 210, []int{50}, 1},
	{"damage at the watermark", []int{100}, nil, 210, []int{100}, 1},
	{"a torn end", []int{150}, nil, 149, nil, 0},
	{"a torn value", nil, []int{150}, 149, nil, 0},
	{"damage and a torn end", []int{50, 150}, nil, 149, []int{50}, 1},
	{"a batch without its end", []int{205}, nil, 200, nil, 0},
	{"a batch without its middle", []int{203}, nil, 200, nil, 0},
	{"the first file without its end, and one record", []int{200, 201, 202, 203, 204, 205}, nil, 199, nil, 0},
	{"the second file without its first record", []int{unclosedFirst}, nil, 205, nil, 0},
}

// eachUnclosed runs a test for each case.
func eachUnclosed(t *testing.T, test func(t *testing.T, dir string, last int, lost map[int]bool, damages int)) {
	l := newUnclosedLog(t)
	if n := len(l.entries) - 1; n != 210 {
		t.Fatalf("%d records", n)
	}
	for _, c := range unclosedCases {
		t.Run(c.name, func(t *testing.T) {
			lost := map[int]bool{}
			for _, i := range c.lost {
				lost[i] = true
			}
			test(t, l.damaged(t, c.headers, c.values), c.last, lost, c.damages)
		})
	}
}

// wantCounted checks which records a store has.
func wantCounted(t *testing.T, s *Store, last int, lost map[int]bool) {
	t.Helper()
	for i := 1; i <= 210; i++ {
		key, value := numbered(i, unclosedSize)
		got, err := s.Get(key)
		switch {
		case i <= last && !lost[i]:
			if err != nil || string(got) != string(value) {
				t.Errorf("record %d counts, and is %.20q, %v", i, got, err)
			}
		case lost[i] && errors.Is(err, ErrCorrupt):
		case !errors.Is(err, ErrNotFound):
			t.Errorf("record %d does not count, and is %.20q, %v", i, got, err)
		}
	}
}

func TestOpenTakesWhatCounts(t *testing.T) {
	eachUnclosed(t, func(t *testing.T, dir string, last int, lost map[int]bool, damages int) {
		for _, readOnly := range []bool{true, false, false} { // the last one finds a closed store
			s := open(t, dir, &Options{ReadOnly: readOnly})
			wantCounted(t, s, last, lost)
			r := s.Stats().Recovery
			if !r.Clean && len(r.Damages) < damages || damages == 0 && len(r.Damages) > 0 {
				t.Errorf("read only %v: %v", readOnly, r.Damages)
			}
			if !r.Clean && (r.BytesDiscarded > 0) != (last < 210) {
				t.Errorf("%d bytes are discarded", r.BytesDiscarded)
			}
			closeStore(t, s)
		}
	})
}
