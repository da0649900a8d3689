package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
)

func TestFillManySegmentsAndReopen(t *testing.T) {
	dir := t.TempDir()
	o := &Options{SegmentSize: 1 << 20}
	s := open(t, dir, o)
	fill(t, s, 0, 30_000, 1024)
	closeStore(t, s)
	s = open(t, dir, o)
	if s.Len() != 30_000 {
		t.Fatalf("%d keys after reopening", s.Len())
	}
	if r := s.Stats().Recovery; !r.Clean || r.RecordsScanned != 0 || r.HintsRebuilt != 0 {
		t.Errorf("a clean close was recovered: %+v", r)
	}
	wantFilled(t, s, 0, 30_000, 1024)
	if n := len(s.Stats().Segments); n < 30 {
		t.Errorf("only %d segments", n)
	}
}

func TestOverwriteDeleteAcrossReopens(t *testing.T) {
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(time.Millisecond), fsync.Never} {
		t.Run(policy.String(), func(t *testing.T) {
			dir := t.TempDir()
			o := tiny()
			o.Sync = policy
			for round := range 8 {
				s := open(t, dir, o)
				for i := range 60 {
					key := fmt.Sprint("k", i)
					if round > 0 && i%3 == (round-1)%3 {
						wantAbsent(t, s, key)
					} else if round > 0 {
						wantValue(t, s, key, fmt.Sprint("value ", round-1, i))
					}
					put(t, s, key, fmt.Sprint("value ", round, i))
					if i%3 == round%3 {
						if err := s.Delete([]byte(key)); err != nil {
							t.Fatal(err)
						}
					}
				}
				s.compactor.Compacting <- struct{}{} // background compaction stands still
				checkAccounts(t, s)
				<-s.compactor.Compacting
				closeStore(t, s)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	longKey := bytes.Repeat([]byte("k"), MaxKeySize)
	for _, key := range [][]byte{{}, nil, longKey, []byte("a")} {
		for _, value := range [][]byte{{}, nil, []byte("v")} {
			if err := s.Put(key, value); err != nil {
				t.Fatal(err)
			}
			got, err := s.Get(key)
			if err != nil || got == nil || !bytes.Equal(got, value) {
				t.Fatalf("Get = %v, %v", got, err)
			}
		}
	}
	tooLong := append(longKey, 'k')
	var b Batch
	b.Put(tooLong, nil)
	for name, err := range map[string]error{
		"Put": s.Put(tooLong, nil), "Delete": s.Delete(tooLong), "Write": s.Write(&b), "PutWithTTL": s.PutWithTTL(tooLong, nil, time.Hour),
	} {
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s of a key of 65,536 bytes: %v", name, err)
		}
	}
	if _, err := s.Get(tooLong); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of a key of 65,536 bytes: %v", err)
	}
	if err := s.PutWithTTL([]byte("k"), nil, 0); !errors.Is(err, ErrInvalid) {
		t.Errorf("a TTL of 0: %v", err)
	}
}

func TestLongValues(t *testing.T) {
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Never} {
		dir := t.TempDir()
		o := &Options{SegmentSize: 64 << 10, Sync: policy}
		s := open(t, dir, o)
		for i := range 20 {
			fill(t, s, i*10, i*10+10, 500)
			key, value := numbered(i%5+1_000_000, 100_000+i)
			if err := s.Put(key, value); err != nil {
				t.Fatal(err)
			}
		}
		check := func() {
			t.Helper()
			wantFilled(t, s, 0, 200, 500)
			for i := 15; i < 20; i++ {
				key, value := numbered(i%5+1_000_000, 100_000+i)
				if got, err := s.Get(key); err != nil || !bytes.Equal(got, value) {
					t.Fatalf("long value %d: %d bytes, %v", i, len(got), err)
				}
			}
			checkAccounts(t, s)
		}
		check()
		closeStore(t, s)
		s = open(t, dir, o)
		check()
		closeStore(t, s)
	}
}

func TestBatch(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, tiny())
	var b Batch
	if err := s.Write(&b); err != nil {
		t.Fatalf("an empty batch: %v", err)
	}
	put(t, s, "old", "1")
	key := []byte("a")
	b.Put(key, []byte("first"))
	key[0] = 'x' // the batch has a copy
	b.Delete([]byte("a"))
	b.Put([]byte("a"), []byte("second"))
	b.Put([]byte("b"), []byte("kept"))
	b.Delete([]byte("old"))
	b.Delete([]byte("never there"))
	b.PutWithTTL([]byte("t"), []byte("short"), time.Hour)
	if b.Len() != 7 {
		t.Errorf("Len = %d", b.Len())
	}
	check := func(s *Store) {
		t.Helper()
		wantValue(t, s, "a", "second")
		wantValue(t, s, "b", "kept")
		wantAbsent(t, s, "old")
		wantAbsent(t, s, "never there")
		if ttl, ok, err := s.TTL([]byte("t")); err != nil || !ok || ttl <= 0 || ttl > time.Hour {
			t.Errorf("TTL = %v, %v, %v", ttl, ok, err)
		}
		if s.Len() != 3 {
			t.Errorf("Len = %d", s.Len())
		}
		checkAccounts(t, s)
	}
	for range 2 { // a batch may be written again
		if err := s.Write(&b); err != nil {
			t.Fatal(err)
		}
		check(s)
	}
	closeStore(t, s)
	check(open(t, dir, tiny()))
	b.Reset()
	if b.Len() != 0 {
		t.Errorf("Len after Reset = %d", b.Len())
	}
}

func TestBatchLargerThanSegment(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, tiny())
	var b Batch
	for i := range 500 {
		b.Put(numbered(i, 100))
	}
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 500, 600, 100)
	wantFilled(t, s, 0, 600, 100)
	closeStore(t, s)
	wantFilled(t, open(t, dir, tiny()), 0, 600, 100)
}

func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := Open(dir, &Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadOnly of a missing directory: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadOnly has made the directory: %v", err)
	}
	s := open(t, dir, tiny())
	fill(t, s, 0, 100, 100)
	closeStore(t, s)
	if err := os.Remove(filepath.Join(dir, "LOCK")); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadDir(dir)
	var readers []*Store
	for range 3 {
		readers = append(readers, open(t, dir, &Options{ReadOnly: true}))
	}
	for _, r := range readers {
		wantFilled(t, r, 0, 100, 100)
		var b Batch
		b.Put([]byte("k"), nil)
		for name, err := range map[string]error{"Put": r.Put([]byte("k"), nil), "Delete": r.Delete([]byte("k")), "Write": r.Write(&b)} {
			if !errors.Is(err, ErrReadOnly) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := r.Sync(); err != nil {
			t.Errorf("Sync: %v", err)
		}
		closeStore(t, r)
	}
	after, _ := os.ReadDir(dir)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("ReadOnly has changed the directory from %v to %v", before, after)
	}
}

func TestLockExcludes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	if _, err := Open(dir, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("a second opener: %v", err)
	}
	if _, err := Open(dir, &Options{ReadOnly: true}); !errors.Is(err, ErrLocked) {
		t.Errorf("a reader beside a writer: %v", err)
	}
	began := time.Now()
	if _, err := Open(dir, &Options{LockTimeout: 50 * time.Millisecond}); !errors.Is(err, ErrLocked) || time.Since(began) < 50*time.Millisecond {
		t.Errorf("a second opener after %v: %v", time.Since(began), err)
	}
	time.AfterFunc(20*time.Millisecond, func() { s.Close() })
	second, err := Open(dir, &Options{LockTimeout: time.Minute})
	if err != nil {
		t.Fatalf("after the first one has closed: %v", err)
	}
	closeStore(t, second)
}

func TestStaleLockContentMeansNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "LOCK"), []byte("pid 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	closeStore(t, open(t, dir, nil))
}

func TestNamespaces(t *testing.T) {
	root := t.TempDir()
	t.Setenv("MMAPKV_DIR", filepath.Join(root, "inside"))
	for _, name := range []string{"", ".", "..", "../x", "/etc", "a/b", `a\b`, "a\x00b", "a\nb", string(bytes.Repeat([]byte("n"), 256))} {
		if _, err := OpenNamespace(name, nil); !errors.Is(err, ErrNamespace) {
			t.Errorf("namespace %q: %v", name, err)
		}
	}
	if entries, _ := os.ReadDir(root); len(entries) != 0 {
		t.Errorf("something was made: %v", entries)
	}
	for _, name := range []string{"a", "..a", "ünï", string(bytes.Repeat([]byte("n"), 255))} {
		s, err := OpenNamespace(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "name", name)
		closeStore(t, s)
		again := open(t, filepath.Join(Root(), name), nil)
		wantValue(t, again, "name", name)
	}
	t.Setenv("MMAPKV_DIR", "")
	t.Setenv("WALRUS_KV_DIR", "elsewhere")
	if Root() != "elsewhere" {
		t.Errorf("Root = %q", Root())
	}
}

func TestSmallStoresStaySmall(t *testing.T) {
	dir := t.TempDir()
	for range 20 {
		closeStore(t, open(t, dir, nil))
	}
	if size, files := diskUse(t, dir); size >= 64<<10 {
		t.Errorf("an empty store takes %d bytes in %d files", size, files)
	}
	for i := range 100 {
		s := open(t, dir, nil)
		put(t, s, fmt.Sprint(i), "small")
		closeStore(t, s)
	}
	size, files := diskUse(t, dir)
	if size >= 1<<20 || files > 7 {
		t.Errorf("a hundred small records take %d bytes in %d files", size, files)
	}
	if s := open(t, dir, nil); s.Len() != 100 {
		t.Errorf("%d keys", s.Len())
	}
}

func TestClosed(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	put(t, s, "k", "v")
	closeStore(t, s)
	closeStore(t, s)
	var b Batch
	b.Put([]byte("k"), nil)
	_, getErr := s.Get([]byte("k"))
	_, hasErr := s.Has([]byte("k"))
	_, _, ttlErr := s.TTL([]byte("k"))
	for name, err := range map[string]error{
		"Get": getErr, "Has": hasErr, "TTL": ttlErr, "Sync": s.Sync(), "Write": s.Write(&b),
		"Put": s.Put([]byte("k"), nil), "PutWithTTL": s.PutWithTTL([]byte("k"), nil, time.Hour), "Delete": s.Delete([]byte("k")),
		"View":  s.View([]byte("k"), func([]byte) error { return nil }),
		"Range": s.Range(func(k, v []byte) error { return nil }),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	for range s.Keys() {
		t.Error("Keys after Close yields")
	}
	if s.Len() != 0 || s.Stats().Keys != 0 {
		t.Errorf("Len after Close = %d", s.Len())
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{SegmentSize: 1}, {SegmentSize: 5 << 30}, {SegmentSize: -1}, {LockTimeout: -1}, {ExpectedKeys: -1}, {ExpectedKeys: math.MaxInt}} {
		if _, err := Open(t.TempDir(), &o); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestKeysAndRange(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	want := map[string]string{}
	for i := range 300 {
		key, value := fmt.Sprint("k", i%200), fmt.Sprint("v", i)
		put(t, s, key, value)
		want[key] = value
	}
	for i := range 50 {
		delete(want, fmt.Sprint("k", i))
		if err := s.Delete(fmt.Append(nil, "k", i)); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for key := range s.Keys() {
		if _, ok := want[string(key)]; !ok || seen[string(key)] {
			t.Errorf("Keys yields %q, again %v", key, seen[string(key)])
		}
		seen[string(key)] = true
	}
	if len(seen) != len(want) {
		t.Errorf("Keys yields %d of %d", len(seen), len(want))
	}
	pairs := map[string]string{}
	if err := s.Range(func(key, value []byte) error { pairs[string(key)] = string(value); return nil }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(pairs) != fmt.Sprint(want) {
		t.Errorf("Range shows %d pairs of %d", len(pairs), len(want))
	}
	stop := errors.New("stop")
	calls := 0
	if err := s.Range(func(key, value []byte) error { calls++; return stop }); err != stop || calls != 1 {
		t.Errorf("Range went on after an error: %v, %d calls", err, calls)
	}
	for range s.Keys() {
		break
	}
}

// A key whose time to live is renewed again and again stays, and Keys yields it once, even
// if the record that Keys saw first expires during the walk.
func TestKeysThatAreRefreshedComeOnce(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o := byHand()
	inject.Into(o, &inject.Seams{Now: func() time.Time { return now }, Manual: true})
	s := open(t, t.TempDir(), o)
	const sessions = 10
	refresh := func() {
		for i := range sessions {
			if err := s.PutWithTTL(fmt.Append(nil, "session ", i), []byte("open"), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	refresh()
	times := map[string]int{}
	for key := range s.Keys() {
		if len(times) == 0 {
			now = now.Add(40 * time.Second)
			refresh()
			now = now.Add(40 * time.Second)
		}
		times[string(key)]++
	}
	for i := range sessions {
		if n := times[fmt.Sprint("session ", i)]; n != 1 {
			t.Errorf("session %d came %d times", i, n)
		}
	}
	now = now.Add(40 * time.Second)
	for key := range s.Keys() {
		t.Errorf("%q has expired", key)
	}
}
