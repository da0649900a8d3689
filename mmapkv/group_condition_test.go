package mmapkv

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
)

// onlyIf is a condition on some keys.
type onlyIf struct {
	keys  map[index.Fingerprint]bool
	holds func() bool
	asked int // how often the leader asked for the verdict
}

func (c *onlyIf) Depends(fp index.Fingerprint, _ []byte) bool { return c.keys[fp] }

func (c *onlyIf) Holds() bool {
	c.asked++
	return c.holds()
}

// conditional is a write of a key that waits for a group, on a condition on the keys.
func (s *Store) conditional(key string, holds func() bool, on ...string) (*wal.Write, *onlyIf) {
	c := &onlyIf{keys: map[index.Fingerprint]bool{}, holds: holds}
	for _, k := range on {
		c.keys[s.hasher.Fingerprint([]byte(k))] = true
	}
	w := s.writeForTest([]byte(key), []byte("value"))
	w.Condition = c
	return w, c
}

// lead commits the members, and returns how many each step did.
func lead(s *Store, members []*wal.Write) (steps []int) {
	s.log.AsLeader(func() {
		for len(members) > 0 {
			n := s.log.CommitSome(members)
			members, steps = members[n:], append(steps, n)
		}
	})
	return steps
}

func yes() bool { return true }
func no() bool  { return false }

// A member is judged when what it depends on can be read, and not before. Members that do not
// depend on each other share one write and one sync.
func TestConditionIsJudgedOnWhatIsPublished(t *testing.T) {
	o := byHand()
	o.Sync = fsync.Always
	s, disk := onFaulty(t, o, inject.Seams{Manual: true})
	put(t, s, "before", "value")
	var seen bool
	judged, _ := s.conditional("judged", func() bool {
		seen, _ = s.Has([]byte("a"))
		return seen
	}, "a", "before")
	other, _ := s.conditional("other", yes, "nothing")
	before := disk.Count()
	steps := lead(s, []*wal.Write{
		s.writeForTest([]byte("a"), nil), s.writeForTest([]byte("b"), nil),
		judged, s.writeForTest([]byte("c"), nil), other,
	})
	if !seen || judged.Err != nil || other.Err != nil {
		t.Errorf("the verdict is yes: %t; %v, %v", seen, judged.Err, other.Err)
	}
	if got := fmt.Sprint(steps); got != "[2 3]" {
		t.Errorf("the group was written in steps of %s members", got)
	}
	if calls := disk.Count() - before; calls != 4 {
		t.Errorf("%d calls; two writes and two syncs are enough", calls)
	}
	for _, key := range []string{"judged", "c", "other"} {
		if has, err := s.Has([]byte(key)); !has || err != nil {
			t.Errorf("%s: %t, %v", key, has, err)
		}
	}
}

// A refused member leaves no trace: neither a record nor a gap in the numbers. Those before and
// behind it are written together.
func TestRefusedMemberLeavesNoTrace(t *testing.T) {
	for mask := range 1 << 4 {
		t.Run(fmt.Sprintf("%04b", mask), func(t *testing.T) {
			disk := crashfs.New()
			s := openOnDisk(t, disk, fsync.Always)
			put(t, s, "before", "value")
			seq := s.log.Published.Load()
			var members []*wal.Write
			refused := 0
			for i := range 4 {
				holds := yes
				if mask>>i&1 == 1 {
					holds = no
					refused++
				}
				w, _ := s.conditional(fmt.Sprint("key ", i), holds)
				members = append(members, w)
			}
			given := append([]*wal.Write(nil), members...)
			steps := lead(s, members)
			if mask&1 == 0 && len(steps) != 1 {
				t.Errorf("steps of %v", steps)
			}
			check := func(s *Store) {
				t.Helper()
				for i := range 4 {
					if mask>>i&1 == 1 {
						wantAbsent(t, s, fmt.Sprint("key ", i))
					} else {
						wantValue(t, s, fmt.Sprint("key ", i), "value")
					}
				}
			}
			for i, w := range members {
				if w != given[i] {
					t.Fatal("the group's members were changed")
				}
				if errors.Is(w.Err, wal.ErrRefused) != (mask>>i&1 == 1) {
					t.Errorf("member %d: %v", i, w.Err)
				}
			}
			if got, want := s.log.Published.Load()-seq, uint64(4-refused); got != want {
				t.Errorf("%d sequence numbers are used, not %d", got, want)
			}
			check(s)
			again := openOnDisk(t, disk.PowerCutWhole(crashfs.Random(1)), fsync.Always)
			check(again)
			if d := again.Stats().Recovery.Damages; len(d) > 0 {
				t.Error(d)
			}
			closeStore(t, again)
			closeStore(t, s)
		})
	}
}

// What is tried again is judged again: the group meets the file size limit, and a condition that
// held does so no longer.
func TestConditionIsJudgedAgain(t *testing.T) {
	for _, rule := range []errorfs.Rule{
		{Err: syscall.EFBIG, Match: errorfs.Only(errorfs.Write)},
		{Err: syscall.EFBIG, Match: errorfs.Only(errorfs.Write), Short: true},
	} {
		for position := range 2 {
			disk := errorfs.New(crashfs.New())
			s := openOnDisk(t, disk, fsync.Always)
			put(t, s, "before", "value")
			first := true
			turns, _ := s.conditional("turns", func() bool {
				held := first
				first = false
				return held
			})
			members := []*wal.Write{s.writeForTest([]byte("a"), nil), s.writeForTest([]byte("b"), nil)}
			members[position] = turns
			disk.Fail(rule)
			steps := lead(s, members)
			if disk.Fired() == 0 || steps[0] != 0 {
				t.Fatalf("the limit was not met: %v", steps)
			}
			if !errors.Is(turns.Err, wal.ErrRefused) {
				t.Errorf("position %d: %v", position, turns.Err)
			}
			if err := members[1-position].Err; err != nil {
				t.Error(err)
			}
			wantAbsent(t, s, "turns")
			closeStore(t, s)
		}
	}
}

// There is not enough space for the group, but for its first member. The others are judged when
// it is their turn, and a refused one hears of no full disk.
func TestConditionWhereTheGroupDoesNotFit(t *testing.T) {
	s, disk := onFaulty(t, &Options{SegmentSize: 1 << 20, Sync: fsync.Always}, inject.Seams{Manual: true})
	put(t, s, "a", "value")
	disk.Fail(fails(syscall.ENOSPC, ".seg", errorfs.Allocate))
	room := s.log.Tail.File.Active.Allocated() - s.log.Tail.End.Offset
	first := s.writeForTest([]byte("first"), make([]byte, room*2/3))
	turns, c := s.conditional("turns", nil)
	c.holds = func() bool { return c.asked == 1 }
	refused, _ := s.conditional("refused", no)
	second := s.writeForTest([]byte("second"), make([]byte, room*2/3))
	lead(s, []*wal.Write{first, turns, refused, second})
	if first.Err != nil || !errors.Is(second.Err, syscall.ENOSPC) {
		t.Errorf("%v, %v", first.Err, second.Err)
	}
	for _, w := range []*wal.Write{turns, refused} {
		if !errors.Is(w.Err, wal.ErrRefused) {
			t.Error(w.Err)
		}
	}
	if c.asked != 2 {
		t.Errorf("judged %d times", c.asked)
	}
	disk.Heal()
}

// The write fails on which a member depends. The member is not judged then: it could be told what
// nobody else will ever see.
func TestNoVerdictOnWhatIsNotDurable(t *testing.T) {
	s, disk := onFaulty(t, &Options{SegmentSize: 1 << 20, Sync: fsync.Always}, inject.Seams{Manual: true})
	put(t, s, "a", "value")
	disk.Fail(fails(syscall.EIO, ".seg", errorfs.Datasync))
	w, c := s.conditional("judged", no, "a")
	lead(s, []*wal.Write{s.writeForTest([]byte("a"), []byte("other")), w})
	if !errors.Is(w.Err, ErrFailed) || c.asked != 0 {
		t.Errorf("%v, after %d verdicts", w.Err, c.asked)
	}
	wantValue(t, s, "a", "value")
}

// A member that is refused hears so, whatever becomes of the others.
func TestRefusedMemberOfAGroupThatFails(t *testing.T) {
	s, disk := onFaulty(t, &Options{SegmentSize: 1 << 20}, inject.Seams{Manual: true})
	put(t, s, "a", "value")
	disk.Fail(errorfs.Rule{Err: syscall.EIO, Match: errorfs.Only(errorfs.Write)})
	refused, _ := s.conditional("refused", no)
	members := []*wal.Write{s.writeForTest([]byte("a"), nil), refused, s.writeForTest([]byte("b"), nil)}
	lead(s, members)
	for i, w := range members {
		if want := map[bool]error{true: wal.ErrRefused, false: syscall.EIO}[w == refused]; !errors.Is(w.Err, want) {
			t.Errorf("member %d: %v", i, w.Err)
		}
	}
	wantValue(t, s, "a", "value")
}

// A long value is written before its condition is judged. If that refuses it, its file goes.
func TestRefusedLongValueLeavesNoFile(t *testing.T) {
	dir, o := t.TempDir(), byHand()
	inject.Into(o, &inject.Seams{Manual: true}) // so that no file is prepared meanwhile
	s := open(t, dir, o)
	put(t, s, "a", "value")
	seq := s.log.Published.Load()
	_, before := diskUse(t, dir)
	value := make([]byte, minSegmentSize)
	done, err := s.log.PutIf(&onlyIf{holds: no}, []byte("long"), value, 0)
	if done || err != nil {
		t.Errorf("%t, %v", done, err)
	}
	if _, after := diskUse(t, dir); after != before {
		t.Errorf("%d files, %d before", after, before)
	}
	if got := s.log.Published.Load(); got != seq {
		t.Errorf("the log went on from %d to %d", seq, got)
	}
	wantAbsent(t, s, "long")
	if done, err = s.log.PutIf(&onlyIf{holds: yes}, []byte("long"), value, 0); !done || err != nil {
		t.Errorf("%t, %v", done, err)
	}
	wantValue(t, s, "long", string(value))
}

// A condition is not asked about any number of records: behind a large batch, a member is judged
// once that is published.
func TestLargeBatchEndsTheGroupOfACondition(t *testing.T) {
	s := open(t, t.TempDir(), &Options{SegmentSize: 64 << 20})
	var b Batch
	for i := range 1 << 16 {
		b.Put(fmt.Append(nil, i), nil)
	}
	batch := &wal.Write{Draft: &b.draft}
	for i := range b.Len() {
		batch.Fps = append(batch.Fps, s.hasher.Fingerprint(b.draft.Key(i)))
	}
	behind, c := s.conditional("behind", yes)
	if steps := fmt.Sprint(lead(s, []*wal.Write{batch, behind})); steps != "[1 1]" {
		t.Errorf("steps of %s", steps)
	}
	if behind.Err != nil || c.asked != 1 {
		t.Errorf("%v, after %d verdicts", behind.Err, c.asked)
	}
}

// Put, Delete and Write on a condition say whether they were done.
func TestWritesOnACondition(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fp := s.hasher.Fingerprint([]byte("key"))
	var b Batch
	b.Put([]byte("key"), []byte("batch"))
	for _, step := range []struct {
		name  string
		write func(c wal.Condition) (bool, error)
		then  string
	}{
		{"PutIf", func(c wal.Condition) (bool, error) { return s.log.PutIf(c, []byte("key"), []byte("put"), 0) }, "put"},
		{"WriteIf", func(c wal.Condition) (bool, error) { return s.log.WriteIf(c, &b.draft) }, "batch"},
		{"DeleteIf", func(c wal.Condition) (bool, error) { return s.log.DeleteIf(c, []byte("key"), fp) }, ""},
	} {
		before, _ := s.Get([]byte("key"))
		if done, err := step.write(&onlyIf{holds: no}); done || err != nil {
			t.Errorf("%s, refused: %t, %v", step.name, done, err)
		}
		if after, _ := s.Get([]byte("key")); string(after) != string(before) {
			t.Errorf("%s was refused, and changed %q to %q", step.name, before, after)
		}
		if done, err := step.write(&onlyIf{holds: yes}); !done || err != nil {
			t.Errorf("%s: %t, %v", step.name, done, err)
		}
		if step.then != "" {
			wantValue(t, s, "key", step.then)
		} else {
			wantAbsent(t, s, "key")
		}
	}
}
