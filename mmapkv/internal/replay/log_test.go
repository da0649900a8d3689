package replay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

const (
	testStart  = 64 // where the records of a file begin
	testRecord = 16 // size of each
)

// testFile is a file with the records that a scan finds in it.
type testFile struct {
	File
	records []Record
}

// parse makes files from what the writer had in them, one record after the other:
//
//	7   the record of this number
//	7+  the same, of a batch that goes on
//	7!  its value does not match its checksum
//	x   a record that cannot be read
//	|   the end that the next file's first record names; otherwise it is after all records
//	#   the file was cut here; #5 five bytes further
func parse(t *testing.T, written []string) (files []testFile) {
	t.Helper()
	var before segment.End
	for _, tokens := range written {
		f := testFile{File: File{DataStart: testStart}}
		at := segment.End{Offset: testStart, Seq: before.Seq}
		named, cut := segment.End{}, false
		for token := range strings.FieldsSeq(tokens) {
			switch token[0] {
			case '|':
				named = at
				continue
			case '#':
				further := 0
				_, _ = fmt.Sscanf(token, "#%d", &further)
				f.Size, cut = at.Offset+int64(further), true
				continue
			case 'x':
				at.Seq++
			default:
				if _, err := fmt.Sscanf(token, "%d", &at.Seq); err != nil {
					t.Fatal(err)
				}
				if !cut {
					f.HasFirst = f.HasFirst || at.Offset == testStart
					f.records = append(f.records, Record{Offset: at.Offset, Size: testRecord, Seq: at.Seq,
						BatchGoesOn: strings.Contains(token, "+"), ValueOK: !strings.Contains(token, "!")})
				}
			}
			at.Offset += testRecord
		}
		if f.HasFirst {
			f.Previous = before
		}
		if before = named; named == (segment.End{}) {
			before = at
		}
		if !cut {
			f.Size = at.Offset
		}
		files = append(files, f)
	}
	return files
}

// replayed replays files, and returns what counts of each, the number reached, and what is lost.
func replayed(files []testFile, sealedSeq, watermark uint64) (parts []Part, reached uint64, lost []string) {
	given := make([]File, len(files))
	for i, f := range files {
		given[i] = f.File
	}
	l := New(given, sealedSeq, watermark)
	for i, f := range files {
		note := func(one *Lost) {
			if one != nil {
				lost = append(lost, fmt.Sprintf("file %d: %s to %s", i, place(one.From), place(one.To)))
			}
		}
		for _, r := range f.records {
			_, one := l.Add(r)
			note(one)
		}
		note(l.EndFile())
	}
	return l.Finish(), l.Reached(), lost
}

func place(end segment.End) string { return fmt.Sprintf("%d#%d", end.Offset, end.Seq) }

// describe says what counts: "records/synced end keep", and what else there is.
func describe(p Part) string {
	s := fmt.Sprintf("%d/%d %s %s", p.Records, p.Synced, place(p.End), place(p.Keep))
	if p.Damaged {
		s += " damaged"
	}
	if p.Discarded != 0 {
		s += fmt.Sprintf(" discards %d", p.Discarded)
	}
	return s
}

var cases = []struct {
	name      string
	files     []string
	watermark uint64
	want      []string
	lost      []string
}{
	{"all is on disk", []string{"1 2 3"}, 3, []string{"3/3 112#3 112#3"}, nil},
	{"some is known to be on disk", []string{"1 2 3"}, 1, []string{"3/1 112#3 80#1"}, nil},
	{"nothing is known to be on disk", []string{"1 2"}, 0, []string{"2/0 96#2 64#0"}, nil},
	{"an empty file", []string{""}, 0, []string{"0/0 64#0 64#0"}, nil},
	{"a number that the sealed files have not reached", []string{"7 8"}, 8, []string{"2/2 96#8 96#8"}, nil},

	{"a torn end", []string{"1 2 x"}, 2, []string{"2/2 96#2 96#2"}, nil},
	{"a torn end with records after it", []string{"1 2 x 4"}, 2, []string{"2/2 96#2 96#2 discards 32"}, nil},
	{"a torn end after what is not known to be on disk", []string{"1 2 x 4"}, 1, []string{"2/1 96#2 80#1 discards 32"}, nil},
	{"the first record is torn", []string{"x 2"}, 0, []string{"0/0 64#0 64#0 discards 32"}, nil},
	{"a torn value", []string{"1 2! 3"}, 1, []string{"1/1 80#1 80#1 discards 32"}, nil},
	{"a number is missing between neighbours", []string{"1 3"}, 1, []string{"1/1 80#1 80#1 discards 16"}, nil},

	{"damage", []string{"1 x 3"}, 3, []string{"2/2 112#3 112#3 damaged"}, []string{"file 0: 80#1 to 96#2"}},
	{"damage up to the watermark", []string{"1 x 3"}, 2, []string{"2/1 112#3 96#2 damaged"}, []string{"file 0: 80#1 to 96#2"}},
	{"damage of the first record", []string{"x 2"}, 2, []string{"1/1 96#2 96#2 damaged"}, []string{"file 0: 64#0 to 80#1"}},
	{"damage of the last record", []string{"1 x"}, 2, []string{"1/1 96#2 96#2 damaged"}, []string{"file 0: 80#1 to 96#2"}},
	{"damage of a number between neighbours", []string{"1 3"}, 3, []string{"2/2 96#3 96#3 damaged"}, []string{"file 0: 80#1 to 80#2"}},
	{"damage of a value", []string{"1 2! 3"}, 2, []string{"3/2 112#3 96#2 damaged"}, nil},
	{"a torn value after damage", []string{"1 x 3!"}, 2, []string{"1/1 96#1 96#1 damaged discards 16"}, []string{"file 0: 80#1 to 96#2"}},
	{"damage before a torn end", []string{"1 x x 4"}, 2, []string{"1/1 112#2 112#2 damaged discards 16"}, []string{"file 0: 80#1 to 112#2"}},
	{"damage where a torn end begins", []string{"1 4"}, 2, []string{"1/1 88#2 88#2 damaged discards 8"}, []string{"file 0: 80#1 to 80#2"}},
	{"damage before a torn end and a next file", []string{"1 x x 4", "5 6"}, 2,
		[]string{"1/1 112#1 112#1 damaged discards 16", "0/0 64#1 64#1 discards 32"}, []string{"file 0: 80#1 to 112#2"}},

	{"cut after a record", []string{"1 2 # 3 4"}, 4, []string{"2/2 104#4 104#4 damaged"}, []string{"file 0: 96#2 to 96#4"}},
	{"cut in the middle of a record", []string{"1 2 #13 3 4"}, 3, []string{"2/2 104#3 104#3 damaged"}, []string{"file 0: 96#2 to 109#3"}},
	{"cut to nothing", []string{"# 1 2"}, 2, []string{"0/0 72#2 72#2 damaged"}, []string{"file 0: 64#0 to 64#2"}},
	{"cut where nothing was promised", []string{"1 2 # 3 4"}, 2, []string{"2/2 96#2 96#2"}, nil},

	{"a batch", []string{"1 2+ 3"}, 1, []string{"3/1 112#3 80#1"}, nil},
	{"a batch over the end", []string{"1 2+ 3+ x"}, 1, []string{"1/1 80#1 80#1 discards 32"}, nil},
	{"nothing but a batch over the end", []string{"1+ 2+"}, 0, []string{"0/0 64#0 64#0 discards 32"}, nil},
	{"a batch over the end of which a part was on disk", []string{"1 2+ 3+ x"}, 2, []string{"2/2 96#2 96#2 discards 16"}, nil},
	{"a batch over the end that was on disk", []string{"1 2+ 3+ x"}, 3, []string{"3/3 112#3 112#3"}, nil},
	{"a batch with a torn value", []string{"1 2+ 3+ 4! 5"}, 1, []string{"1/1 80#1 80#1 discards 64"}, nil},
	{"a batch of which damage took the middle", []string{"1+ x 3 4+"}, 3, []string{"2/2 112#3 112#3 damaged discards 16"}, []string{"file 0: 80#1 to 96#2"}},
	{"a batch over the end of the last file but one", []string{"1 2+ x", ""}, 1, []string{"1/1 80#1 80#1 discards 16", "0/0 64#2 64#2"}, nil},

	{"the log goes on", []string{"1 2", "3 4"}, 1, []string{"2/1 96#2 80#1", "2/0 96#4 64#2"}, nil},
	{"the next file is empty", []string{"1 2", ""}, 2, []string{"2/2 96#2 96#2", "0/0 64#2 64#2"}, nil},
	{"the end that the next file names is torn", []string{"1 2 x", "4 5"}, 2,
		[]string{"2/2 96#2 96#2", "0/0 64#2 64#2 discards 32"}, nil},
	{"the end that the next file names is damaged", []string{"1 2 x", "4 5"}, 3,
		[]string{"2/2 112#3 112#3 damaged", "2/0 96#5 64#3"}, []string{"file 0: 96#2 to 112#3"}},
	{"a part of it was on disk", []string{"1 x x", "4 5"}, 2,
		[]string{"1/1 112#1 112#1 damaged", "0/0 64#1 64#1 discards 32"}, []string{"file 0: 80#1 to 112#2"}},
	{"the end that the next file names was cut", []string{"1 2 # 3", "4"}, 4,
		[]string{"2/2 112#3 112#3 damaged", "1/1 80#4 80#4"}, []string{"file 0: 96#2 to 96#3"}},
	{"a torn value and a next file", []string{"1 2!", "3"}, 1, []string{"1/1 80#1 80#1 discards 16", "0/0 64#1 64#1 discards 16"}, nil},
	{"damage and an empty next file", []string{"1 2 x", ""}, 3, []string{"2/2 112#3 112#3 damaged", "0/0 64#3 64#3"}, []string{"file 0: 96#2 to 112#3"}},
	{"a torn end and an empty next file", []string{"1 2 x", ""}, 2, []string{"2/2 96#2 96#2", "0/0 64#2 64#2"}, nil},

	{"the next file's first record is torn", []string{"1 2", "x 4"}, 2, []string{"2/2 96#2 96#2", "0/0 64#2 64#2 discards 32"}, nil},
	{"the next file's first record is damaged", []string{"1 2", "x 4"}, 4,
		[]string{"2/2 104#2 104#2 damaged", "1/1 96#4 96#4 damaged"}, []string{"file 0: 96#2 to 96#4", "file 1: 64#2 to 80#3"}},
	{"a stale record where the next file's first is torn", []string{"1 2", "x 2"}, 2, []string{"2/2 96#2 96#2", "0/0 64#2 64#2 discards 32"}, nil},
	{"all of the next file is damaged", []string{"1 2", "x x"}, 4,
		[]string{"2/2 104#4 104#4 damaged", "0/0 64#4 64#4"}, []string{"file 0: 96#2 to 96#4"}},

	{"numbers that skip after a failed write", []string{"1 2", "5 6"}, 6, []string{"2/2 96#2 96#2", "2/2 96#6 96#6"}, nil},
	{"what a failed write has left", []string{"1 2 | x 4", "5"}, 5, []string{"2/2 96#2 96#2 discards 32", "1/1 80#5 80#5"}, nil},
	{"what a failed write has left, not on disk", []string{"1 2 | x 4", "5"}, 0, []string{"2/0 96#2 64#0 discards 32", "1/0 80#5 64#4"}, nil},
	{"a failed write that left nothing", []string{"1 2 | x", "4"}, 2, []string{"2/2 96#2 96#2", "1/0 80#4 64#3"}, nil},
	{"three files", []string{"1", "", "2"}, 1, []string{"1/1 80#1 80#1", "0/0 64#1 64#1", "1/0 80#2 64#1"}, nil},
	{"no files", nil, 5, nil, nil},
}

func TestWhatCounts(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			parts, _, lost := replayed(parse(t, c.files), 0, c.watermark)
			var got []string
			for _, p := range parts {
				got = append(got, describe(p))
			}
			if !slices.Equal(got, c.want) || !slices.Equal(lost, c.lost) {
				t.Errorf("files %q, all up to %d was on disk: what counts is\n%q, want\n%q; lost is\n%q, want\n%q",
					c.files, c.watermark, got, c.want, lost, c.lost)
			}
		})
	}
}

// TestReachedIsAfterTheLastRecord covers a last record that is not in the last file, one whose batch
// is not whole, and a log that goes on from the sealed files.
func TestReachedIsAfterTheLastRecord(t *testing.T) {
	for _, c := range []struct {
		files     []string
		sealed    uint64
		watermark uint64
		want      uint64
	}{
		{nil, 7, 7, 7},
		{[]string{""}, 7, 7, 7},
		{[]string{"8 9"}, 7, 7, 9},
		{[]string{"8 9", ""}, 7, 7, 9},
		{[]string{"8 9+", ""}, 7, 7, 9},
		{[]string{"8 9 x"}, 7, 10, 10},
		{[]string{"8 9 x", "11"}, 7, 9, 9},
	} {
		if _, reached, _ := replayed(parse(t, c.files), c.sealed, c.watermark); reached != c.want {
			t.Errorf("%q after %d reach %d, want %d", c.files, c.sealed, reached, c.want)
		}
	}
}

// TestFirstRecordThatComesLater covers a writer that adds a file's first record after the look at
// the file and before its replay.
func TestFirstRecordThatComesLater(t *testing.T) {
	files := parse(t, []string{"1 2 x", "4 5"})
	files[1].HasFirst, files[1].Previous = false, segment.End{}
	parts, _, lost := replayed(files, 0, 2)
	if got := describe(parts[1]); got != "2/0 96#5 64#3" || len(lost) > 0 {
		t.Errorf("what counts is %s; lost is %q", got, lost)
	}
}

// TestAddSaysWhatCounts ensures that Add says at once whether a record counts.
func TestAddSaysWhatCounts(t *testing.T) {
	files := parse(t, []string{"1 2! x 4 5! 6"})
	l := New([]File{files[0].File}, 0, 4)
	var counts []bool
	for _, r := range files[0].records {
		one, _ := l.Add(r)
		counts = append(counts, one)
	}
	if want := []bool{true, true, true, false, false}; !slices.Equal(counts, want) {
		t.Errorf("%v count, want %v", counts, want)
	}
}

// TestCredible ensures that nothing is believed that no store writes.
func TestCredible(t *testing.T) {
	honest := segment.Entry{Seq: 10, Watermark: 9, Previous: segment.End{Offset: 80, Seq: 9}}
	for name, c := range map[string]struct {
		change func(e *segment.Entry)
		want   bool
	}{
		"an honest one":           {func(e *segment.Entry) {}, true},
		"the last of an edit":     {func(e *segment.Entry) { e.Seq = 5 + MaxUntold }, true},
		"beyond it":               {func(e *segment.Entry) { e.Seq = 6 + MaxUntold }, false},
		"its own watermark":       {func(e *segment.Entry) { e.Watermark = 10 }, false},
		"an end of its number":    {func(e *segment.Entry) { e.Previous.Seq = 10 }, false},
		"a negative end":          {func(e *segment.Entry) { e.Previous.Offset = -8 }, false},
		"an end in no file":       {func(e *segment.Entry) { e.Previous.Offset = segment.MaxFileSize + 8 }, false},
		"an end in the middle":    {func(e *segment.Entry) { e.Previous.Offset = 81 }, false},
		"no number of any record": {func(e *segment.Entry) { e.Seq, e.Watermark, e.Previous.Seq = 0, 0, 0 }, false},
	} {
		e := honest
		if c.change(&e); Credible(&e, 5) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
	last := segment.Entry{Seq: segment.MaxSeq}
	if beyond := (segment.Entry{Seq: segment.MaxSeq + 1}); !Credible(&last, segment.MaxSeq) || Credible(&beyond, segment.MaxSeq) {
		t.Error("numbers go on after the highest one")
	}
}
