package mmapkv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// partialStep is the size of what a partial hint covers in these tests.
const partialStep = 1 << 10

// partialOptions makes partial hints small and the background one of steps.
func partialOptions() *Options {
	o := &Options{SegmentSize: 64 << 10, Sync: fsync.Every(time.Hour)}
	o.Compaction.Disabled = true
	inject.Into(o, &inject.Seams{Manual: true, PartStep: partialStep})
	return o
}

// writePartials takes the background's steps until there is no partial hint to write.
func writePartials(t testing.TB, s *Store) (n int) {
	t.Helper()
	for ; ; n++ {
		if did, err := s.log.StepPartial(); err != nil {
			t.Fatal(err)
		} else if !did {
			return n
		}
	}
}

// fillTail writes puts, overwrites, deletes, batches and pairs that expire, and returns what the store
// then has. It syncs and writes partial hints in between.
func fillTail(t testing.TB, s *Store, rng *rand.Rand, writes int) map[string]string {
	t.Helper()
	want := map[string]string{}
	for n := range writes {
		var b Batch
		for range 1 + max(0, rng.IntN(12)-6) {
			key, value := fmt.Sprint("key", rng.IntN(40)), fmt.Sprint(strings.Repeat("v", rng.IntN(200)), n)
			switch rng.IntN(8) {
			case 0:
				b.Delete([]byte(key))
				delete(want, key)
			case 1:
				b.PutWithTTL([]byte(key), []byte(value), time.Hour)
				want[key] = value
			default:
				b.Put([]byte(key), []byte(value))
				want[key] = value
			}
		}
		once := fmt.Sprint("once", n)
		b.Put([]byte(once), nil)
		want[once] = ""
		if err := s.Write(&b); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(10) == 0 {
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			writePartials(t, s)
		}
	}
	return want
}

func wantAll(t testing.TB, s *Store, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	if err := s.Range(func(key, value []byte) error { got[string(key)] = string(value); return nil }); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("the store has %d pairs, not %d, or others", len(got), len(want))
	}
	for key, value := range want {
		wantValue(t, s, key, value)
	}
}

func partialFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.part*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func wantNoDamage(t testing.TB, dir string) {
	t.Helper()
	if r, err := Verify(context.Background(), dir, nil); err != nil || len(r.Damages) > 0 {
		t.Fatalf("Verify: %v, %v", r.Damages, err)
	}
}

// A recovery reads only what follows the partial hints, and finds the same as one that reads all. The
// background then writes the hint, and the partial ones go.
func TestRecoveryReadsOnlyWhatFollowsPartialHints(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := open(t, t.TempDir(), partialOptions())
		want := fillTail(t, s, rng, 100+rng.IntN(100))
		dir := killed(t, s, s.path)
		if len(partialFiles(t, dir)) < 4 {
			t.Fatalf("seed %d: %d partial hints", seed, len(partialFiles(t, dir)))
		}
		wantNoDamage(t, dir)
		all := copyDir(t, dir)
		for _, name := range partialFiles(t, all) {
			remove(t, all, filepath.Base(name))
		}
		whole := open(t, all, partialOptions())
		wantAll(t, whole, want)
		for _, readOnly := range []bool{true, false} {
			o := partialOptions()
			o.ReadOnly = readOnly
			after := open(t, dir, o)
			wantAll(t, after, want)
			checkAccounts(t, after)
			got, most := after.Stats().Recovery, whole.Stats().Recovery
			if got.RecordsScanned > most.RecordsScanned/2 || got.RecordsRecovered > most.RecordsRecovered || len(got.Damages) > 0 || got.HintsRebuilt > 0 {
				t.Errorf("seed %d: %+v; without partial hints %+v", seed, got, most)
			}
			if !readOnly {
				finishHints(t, after, dir)
				wantAll(t, after, want)
			}
			closeStore(t, after)
		}
		wantNoDamage(t, dir)
		wantAll(t, open(t, dir, partialOptions()), want)
	}
}

// finishHints takes the background's steps until each sealed file has its hint.
func finishHints(t testing.TB, s *Store, dir string) {
	t.Helper()
	for did := true; did; {
		var err error
		if did, err = s.log.StepHint(); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range s.catalog.Files.Order {
		if _, err := os.Stat(filepath.Join(dir, segment.HintName(f.ID))); f.Active == nil && err != nil {
			t.Errorf("%v after the background was done", err)
		}
	}
	if left := partialFiles(t, dir); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// Whatever happens to partial hints costs time, and never a key: some are lost, cut, rotten, of an
// earlier range, of another file of the store, or of another store.
func TestPartialHintsThatCannotBeUsed(t *testing.T) {
	rebuilt := 0
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := open(t, t.TempDir(), partialOptions())
		want := fillTail(t, s, rng, 150)
		dir := killed(t, s, s.path)
		closeStore(t, s)
		names := partialFiles(t, dir)
		for range 1 + rng.IntN(3) {
			name := names[rng.IntN(len(names))]
			data, err := os.ReadFile(name)
			if err != nil {
				continue
			}
			switch rng.IntN(5) {
			case 0:
				remove(t, dir, filepath.Base(name))
				continue
			case 1:
				data = data[:rng.IntN(len(data))]
			case 2:
				data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
			case 3:
				if data, err = os.ReadFile(names[rng.IntN(len(names))]); err != nil {
					continue
				}
			case 4:
				r := segment.Range{From: segment.End{Offset: 64}, To: segment.End{Offset: 32 << 10, Seq: 500}, Last: 64}
				b := segment.NewHintBuilder()
				b.Add(segment.Entry{Offset: 64, Size: 64, Seq: 1, Key: []byte("key1")})
				data = b.EncodePartial(1, rng.Uint64(), r)
			}
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		after := open(t, dir, partialOptions())
		if damages := after.Stats().Recovery.Damages; len(damages) > 0 {
			t.Fatalf("seed %d: %v", seed, damages)
		}
		rebuilt += after.Stats().Recovery.HintsRebuilt
		wantAll(t, after, want)
		checkAccounts(t, after)
		finishHints(t, after, dir)
		closeStore(t, after)
		wantNoDamage(t, dir)
	}
	if rebuilt == 0 {
		t.Error("no rotten part was found while loading")
	}
}

// A partial hint says that its records were on disk. A file that ends before them is damaged, and
// Open and Verify say so.
func TestFileCutBelowAPartialHint(t *testing.T) {
	s := open(t, t.TempDir(), partialOptions())
	fillTail(t, s, rand.New(rand.NewPCG(1, 3)), 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	writePartials(t, s)
	ends := partialEnds(t, s.path)
	for i, end := range ends {
		dir := killed(t, s, s.path)
		if err := os.Truncate(segmentFiles(t, dir)[0], end.Offset-8); err != nil {
			t.Fatal(err)
		}
		r, err := Verify(context.Background(), dir, nil)
		if err != nil || len(r.Damages) == 0 {
			t.Errorf("cut below partial hint %d: Verify finds nothing, %v", i, err)
		}
		after := open(t, dir, partialOptions())
		if len(after.Stats().Recovery.Damages) == 0 {
			t.Errorf("cut below partial hint %d: Open reports nothing", i)
		}
		put(t, after, "new", "value")
		closeStore(t, after)
		wantValue(t, open(t, dir, partialOptions()), "new", "value")
	}
}

// partialEnds returns where the partial hints end.
func partialEnds(t testing.TB, dir string) (ends []segment.End) {
	t.Helper()
	for _, name := range segmentFiles(t, dir) {
		header, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		id, salt := segment.ID(binary.LittleEndian.Uint64(header[16:])), binary.LittleEndian.Uint64(header[24:])
		for n := range segment.MaxPartials {
			data, err := os.ReadFile(filepath.Join(dir, segment.PartialName(id, n)))
			if errors.Is(err, os.ErrNotExist) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			p, err := segment.OpenPartial(bytes.NewReader(data), int64(len(data)), id, salt, nil)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, p.To)
		}
	}
	return ends
}

// A record that rots in what a partial hint covers is damage whenever it is read, and its key never
// has the value from before: not after the recovery, nor once the background has read the records, nor
// after another Open.
func TestRecordThatRotsUnderAPartialHint(t *testing.T) {
	for _, at := range []int64{0, 20, 40} { // in the checksum, the sizes, the value
		s := open(t, t.TempDir(), partialOptions())
		put(t, s, "rotten", "old")
		s.endForTest(t)
		fill(t, s, 0, 20, 100)
		put(t, s, "rotten", strings.Repeat("new", 10))
		rotten := s.catalog.Set().Keys.Get(s.hasher.Fingerprint([]byte("rotten")))
		file := segment.FileName(s.catalog.Set().File(rotten).ID)
		fill(t, s, 20, 40, 100)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		writePartials(t, s)
		dir := killed(t, s, s.path)
		invertByte(t, filepath.Join(dir, file), rotten.Offset()+at)
		wantRotten := func(s *Store) {
			t.Helper()
			wantFilled(t, s, 0, 40, 100)
			if value, err := s.Get([]byte("rotten")); !errors.Is(err, ErrCorrupt) {
				t.Errorf("a bad byte at %d: %q, %v", at, value, err)
			}
		}
		after := open(t, dir, partialOptions())
		wantRotten(after)
		finishHints(t, after, dir)
		wantRotten(after)
		closeStore(t, after)
		wantRotten(open(t, dir, partialOptions()))
	}
}

// invertByte inverts a byte of a file.
func invertByte(t testing.TB, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// Nothing that was not synced is in a partial hint.
func TestPartialHintsWaitForASync(t *testing.T) {
	for _, policy := range []fsync.Policy{fsync.Never, fsync.Every(time.Hour)} {
		o := partialOptions()
		o.Sync = policy
		s := open(t, t.TempDir(), o)
		for round := range 5 {
			fill(t, s, 100*round, 100*round+60, 100)
			before := s.syncer.Durable()
			if n := writePartials(t, s); n > 0 && round == 0 {
				t.Errorf("%v: %d partial hints of what was never synced", policy, n)
			}
			for _, end := range partialEnds(t, s.path) {
				if end.Seq > before {
					t.Errorf("%v: a partial hint ends at %d, and %d is durable", policy, end.Seq, before)
				}
			}
			fill(t, s, 100*round+60, 100*round+90, 100)
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			if n := writePartials(t, s); n == 0 {
				t.Errorf("%v: no partial hint after a sync", policy)
			}
		}
	}
}

// A tail that goes on after a clean close gets further partial hints.
func TestPartialHintsGoOnAfterAnOpen(t *testing.T) {
	dir := t.TempDir()
	o := partialOptions()
	for round := range 4 {
		s := open(t, dir, o)
		before := partialEnds(t, dir)
		fill(t, s, 100*round, 100*round+50, 40)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		writePartials(t, s)
		after := partialEnds(t, dir)
		if len(after) <= len(before) || !slices.Equal(after[:len(before)], before) {
			t.Fatalf("round %d: %v, before %v", round, after, before)
		}
		killed := open(t, killed(t, s, dir), o)
		if n := killed.Stats().Recovery.RecordsScanned; n > 30 {
			t.Errorf("round %d: %d records were read", round, n)
		}
		for i := range round + 1 {
			wantFilled(t, killed, 100*i, 100*i+50, 40)
		}
		closeStore(t, s)
	}
}

// Sealing removes the partial hints, and so does the next Open if a crash prevents that.
func TestPartialHintsGoWhenTheFileIsSealed(t *testing.T) {
	s := open(t, t.TempDir(), partialOptions())
	fill(t, s, 0, 100, 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	writePartials(t, s)
	there := partialFiles(t, s.path)
	kept := map[string][]byte{}
	for _, name := range there {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		kept[filepath.Base(name)] = data
	}
	s.endForTest(t)
	if left := partialFiles(t, s.path); len(there) == 0 || len(left) > 0 {
		t.Errorf("of %d partial hints %q are left", len(there), left)
	}
	dir := killed(t, s, s.path)
	for name, data := range kept {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Verify(context.Background(), dir, nil)
	if err != nil || len(r.Damages) > 0 || len(r.Remarks) != len(kept) {
		t.Errorf("Verify: %+v, %v", r, err)
	}
	after := open(t, dir, partialOptions())
	wantFilled(t, after, 0, 100, 100)
	if left := partialFiles(t, dir); len(left) > 0 {
		t.Errorf("%q are left after an Open", left)
	}
}

// A full disk takes the partial hints first. The file gets no new ones.
func TestPartialHintsAreDroppedForRoom(t *testing.T) {
	s := open(t, t.TempDir(), partialOptions())
	fill(t, s, 0, 100, 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	used, _ := s.space.Use()
	n := writePartials(t, s)
	if after, _ := s.space.Use(); n == 0 || after <= used {
		t.Errorf("%d partial hints count as %d bytes", n, after-used)
	}
	if !s.compactor.MakeRoom() || len(partialFiles(t, s.path)) > 0 {
		t.Errorf("%q are left", partialFiles(t, s.path))
	}
	if after, _ := s.space.Use(); after != used {
		t.Errorf("they still count as %d bytes", after-used)
	}
	fill(t, s, 100, 200, 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := writePartials(t, s); n > 0 {
		t.Errorf("%d partial hints were written afterwards", n)
	}
	wantFilled(t, open(t, killed(t, s, s.path), partialOptions()), 0, 200, 100)
}

// While writers rotate and compaction removes files, partial hints come and go, and none is left over.
func TestPartialHintsBesideRotationAndCompaction(t *testing.T) {
	dir := t.TempDir()
	o := &Options{SegmentSize: 32 << 10, Sync: fsync.Every(time.Millisecond)}
	inject.Into(o, &inject.Seams{PartStep: partialStep})
	for round := range 3 {
		s := open(t, dir, o)
		var writers sync.WaitGroup
		for w := range 3 {
			writers.Go(func() {
				for i := range 1500 {
					if err := s.Put(fmt.Append(nil, w, "of", i%50), bytes.Repeat([]byte{byte(i)}, 100)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		copied := killed(t, s, dir)
		closeStore(t, s)
		wantNoDamage(t, dir)
		for _, dir := range []string{copied, dir} {
			after := open(t, dir, o)
			if after.Len() != 150 {
				t.Errorf("round %d: %d keys", round, after.Len())
			}
			closeStore(t, after)
			wantNoDamage(t, dir)
		}
	}
}

// A recovered file may be compacted before its hint is written. Its partial hints go with it.
func TestPartialHintsOfACompactedFile(t *testing.T) {
	s := open(t, t.TempDir(), partialOptions())
	for range 3 {
		fill(t, s, 0, 100, 100)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		writePartials(t, s)
	}
	dir := killed(t, s, s.path)
	after := open(t, dir, partialOptions())
	before := len(partialFiles(t, dir))
	compactAll(t, after)
	if left := partialFiles(t, dir); before == 0 || len(left) > 0 {
		t.Errorf("of %d partial hints %q are left", before, left)
	}
	wantFilled(t, after, 0, 100, 100)
	finishHints(t, after, dir)
	closeStore(t, after)
	wantNoDamage(t, dir)
	wantFilled(t, open(t, dir, partialOptions()), 0, 100, 100)
}
