package mmapkv

import (
	"errors"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// unclosedLog is a store as SIGKILL leaves it, with two unsealed files. Its records have
// the numbers 1 to 210. Records up to 100 are known to be on disk, 201 to 205 are a batch,
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
	unclosedLast  = 210
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
	s.log.AsLeader(func() {
		if err := s.log.Rotate(100, false); err != nil {
			t.Error(err)
		}
	})
	fill(t, s, unclosedFirst, unclosedLast+1, unclosedSize)
	l.note(t, dir, s)
	l.dir = killed(t, s, dir)
	return l
}

// note remembers where the records of the tail are.
func (l *unclosedLog) note(t *testing.T, dir string, s *Store) {
	t.Helper()
	f := s.log.Tail.File
	for _, e := range entriesOf(t, dir, segment.SegmentInfo{ID: f.ID, Salt: f.Salt, End: s.log.Tail.End}) {
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

// unclosedCase is a kind of damage and what still counts: all records up to last, except
// the lost ones.
type unclosedCase struct {
	name            string
	headers, values []int // the records whose headers or values are damaged
	last            int
	lost            []int
	damages         int // how many damages are reported
}

var unclosedCases = []unclosedCase{
	{"nothing is wrong", nil, nil, unclosedLast, nil, 0},
	{"damage", []int{50}, nil, unclosedLast, []int{50}, 1},
	{"a damaged value", nil, []int{50}, unclosedLast, []int{50}, 1},
	{"damage at the watermark", []int{100}, nil, unclosedLast, []int{100}, 1},
	{"damage over the watermark", []int{100, 101}, nil, 100, []int{100}, 1},
	{"a torn end", []int{150}, nil, 149, nil, 0},
	{"a torn value", nil, []int{150}, 149, nil, 0},
	{"damage and a torn end", []int{50, 150}, nil, 149, []int{50}, 1},
	{"a batch without its end", []int{205}, nil, 200, nil, 0},
	{"a batch without its middle", []int{203}, nil, 200, nil, 0},
	{"the first file without its end, and one record", []int{200, 201, 202, 203, 204, 205}, nil, 199, nil, 0},
	{"the second file without its first record", []int{unclosedFirst}, nil, 205, nil, 0},
}

// eachUnclosed runs a test for each case.
func eachUnclosed(t *testing.T, test func(t *testing.T, c *unclosedCase, dir string)) {
	l := newUnclosedLog(t)
	if n := len(l.entries) - 1; n != unclosedLast {
		t.Fatalf("%d records", n)
	}
	for _, c := range unclosedCases {
		t.Run(c.name, func(t *testing.T) {
			test(t, &c, l.damaged(t, c.headers, c.values))
		})
	}
}

// headersLost are the lost records that nobody can find.
func (c *unclosedCase) headersLost() (list []int) {
	for _, i := range c.lost {
		if slices.Contains(c.headers, i) {
			list = append(list, i)
		}
	}
	return list
}

// wantCounted checks which records a store has.
func wantCounted(t *testing.T, s *Store, c *unclosedCase) {
	t.Helper()
	for i := 1; i <= unclosedLast; i++ {
		key, value := numbered(i, unclosedSize)
		got, err := s.Get(key)
		switch {
		case i <= c.last && !slices.Contains(c.lost, i):
			if err != nil || string(got) != string(value) {
				t.Errorf("record %d counts, and is %.20q, %v", i, got, err)
			}
		case slices.Contains(c.lost, i) && errors.Is(err, ErrCorrupt):
		case !errors.Is(err, ErrNotFound):
			t.Errorf("record %d does not count, and is %.20q, %v", i, got, err)
		}
	}
}

func TestOpenTakesWhatCounts(t *testing.T) {
	eachUnclosed(t, func(t *testing.T, c *unclosedCase, dir string) {
		for _, readOnly := range []bool{true, false, false} { // the last Open finds a closed store
			s := open(t, dir, &Options{ReadOnly: readOnly})
			wantCounted(t, s, c)
			r := s.Stats().Recovery
			if !r.Clean && len(r.Damages) != c.damages || r.Clean && c.damages == 0 && len(r.Damages) > 0 {
				t.Errorf("read only %v: %v", readOnly, r.Damages)
			}
			if !r.Clean && (r.BytesDiscarded > 0) != (c.last < unclosedLast) {
				t.Errorf("%d bytes are discarded", r.BytesDiscarded)
			}
			closeStore(t, s)
		}
	})
}

// TestVerifyTakesWhatCounts: Verify counts the records that it has checked, including those
// that it has found of an incomplete batch.
func TestVerifyTakesWhatCounts(t *testing.T) {
	ofTheBatch := map[string]int{"a batch without its end": 4, "a batch without its middle": 2}
	eachUnclosed(t, func(t *testing.T, c *unclosedCase, dir string) {
		r := verified(t, dir)
		want := c.last - len(c.headersLost()) + ofTheBatch[c.name]
		if r.Records != want || len(r.Damages) != c.damages {
			t.Errorf("%d records, and not %d; %+v", r.Records, want, r.Damages)
		}
	})
}

func TestSalvageTakesWhatCounts(t *testing.T) {
	eachUnclosed(t, func(t *testing.T, c *unclosedCase, dir string) {
		s, r := salvaged(t, dir, nil)
		wantCounted(t, s, c)
		if r.Complete() != (c.damages == 0) || (r.Discarded > 0) != (c.last < unclosedLast) {
			t.Errorf("complete %v, %d bytes are discarded: %+v, %+v", r.Complete(), r.Discarded, r.LostRanges, r.LostKeys)
		}
	})
}

// TestVerifyNamesNumbersThatAreLost damages the end of one file and the first record of
// the next: the missing records may have been in either.
func TestVerifyNamesNumbersThatAreLost(t *testing.T) {
	live := t.TempDir()
	o := byHand()
	o.Sync = fsync.Never
	inject.Into(o, &inject.Seams{Manual: true}) // nobody seals the first file
	s := open(t, live, o)
	l := &unclosedLog{entries: make([]entryPlace, 1)}
	fill(t, s, 1, 11, unclosedSize)
	l.note(t, live, s)
	s.log.AsLeader(func() {
		if err := s.log.Rotate(100, false); err != nil {
			t.Error(err)
		}
	})
	fill(t, s, 11, 12, unclosedSize)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 12, 14, unclosedSize) // 12 carries the watermark
	l.note(t, live, s)
	l.dir = killed(t, s, live)
	r := verified(t, l.damaged(t, []int{10, 11}, nil))
	var files, reasons []string
	for _, d := range r.Damages {
		files, reasons = append(files, d.File), append(reasons, d.Reason)
	}
	const lost = "records 10 to 11 were on disk, and cannot be read"
	if !slices.Equal(files, []string{l.entries[10].file, l.entries[11].file}) || !slices.Equal(reasons, []string{lost, lost}) {
		t.Errorf("%q in %q", reasons, files)
	}
}
