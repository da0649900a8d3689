package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

func snapshot(t testing.TB, s *Store) *Snapshot {
	t.Helper()
	n, err := s.Snapshot()
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// wantThen expects a snapshot to have a value of a key, or none if want is absent.
func wantThen(t testing.TB, n *Snapshot, key, want string) {
	t.Helper()
	got, err := n.Get([]byte(key))
	if want == absent && !errors.Is(err, ErrNotFound) || want != absent && (err != nil || string(got) != want) {
		t.Fatalf("Get(%q) of a snapshot = %.40q, %v; want %.40q", key, got, err, want)
	}
}

const absent = "\x00absent"

// TestSnapshotLivesThroughCompactions: a snapshot has what it had after a thousand compactions, each of
// which replaces all files: in memory, where compactions are fast, and in mapped files.
func TestSnapshotLivesThroughCompactions(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	o := byHand()
	inject.Into(o, &inject.Seams{FS: crashfs.New()})
	t.Run("in memory", func(t *testing.T) { liveThroughCompactions(t, open(t, "/store", o), rounds) })
	t.Run("mapped", func(t *testing.T) { liveThroughCompactions(t, open(t, t.TempDir(), byHand()), rounds/20) })
}

func liveThroughCompactions(t *testing.T, s *Store, rounds int) {
	const keys = 60
	fill(t, s, 0, keys, 50)
	put(t, s, "deleted", "in the end")
	n := snapshot(t, s)
	var reading sync.WaitGroup
	stop := make(chan struct{})
	reading.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key, want := numbered(i%keys, 50)
			if got, err := n.Get(key); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %.20q, %v", key, got, err)
				return
			}
			if _, err := n.Get([]byte("never")); err != ErrNotFound {
				t.Errorf("never: %v", err)
				return
			}
		}
	})
	for round := range rounds {
		fill(t, s, round%keys, keys, 51+round%7)
		if round == rounds/2 {
			if err := s.Delete([]byte("deleted")); err != nil {
				t.Fatal(err)
			}
		}
		compactAll(t, s)
	}
	close(stop)
	reading.Wait()
	wantThen(t, n, "deleted", "in the end")
	wantAbsent(t, s, "deleted")
	shown := 0
	err := n.Scan(ScanOptions{Prefix: []byte("key-")}, func(key, value []byte) error {
		if k, v := numbered(shown, 50); !bytes.Equal(key, k) || !bytes.Equal(value, v) {
			return fmt.Errorf("pair %d is %.20q, %.20q", shown, key, value)
		}
		shown++
		return nil
	})
	if err != nil || shown != keys {
		t.Errorf("%d pairs: %v", shown, err)
	}
	if runs := s.Stats().Compaction.Runs; runs < rounds {
		t.Errorf("%d compactions", runs)
	}
	held := s.Stats()
	if len(held.Snapshots) != 1 || held.Snapshots[0].HeldBytes == 0 || held.HeldBytes < held.Snapshots[0].HeldBytes {
		t.Errorf("%d bytes are held, and %+v", held.HeldBytes, held.Snapshots)
	}
	n.Close()
	wantNothingHeld(t, s)
	closeStore(t, s)
}

// TestSnapshotIsWholeBatches moves amounts between accounts in batches. Whoever adds up a snapshot,
// in any way and at any time, gets the same sum.
func TestSnapshotIsWholeBatches(t *testing.T) {
	const accounts, each = 20, 1000
	s := open(t, t.TempDir(), tiny())
	var keys [][]byte
	for i := range accounts {
		keys = append(keys, fmt.Appendf(nil, "account %02d", i))
		put(t, s, string(keys[i]), fmt.Sprint(each))
	}
	sum := func(read func(add func(value []byte) error) error) int {
		total := 0
		if err := read(func(value []byte) error {
			var amount int
			_, err := fmt.Sscan(string(value), &amount)
			total += amount
			return err
		}); err != nil {
			t.Error(err)
		}
		return total
	}
	var stop atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		random := rand.New(rand.NewPCG(1, 7))
		held := [accounts]int{}
		for i := range held {
			held[i] = each
		}
		for !stop.Load() {
			from, to, amount := random.IntN(accounts), random.IntN(accounts), random.IntN(50)
			held[from] -= amount
			held[to] += amount
			var b Batch
			b.Put(keys[from], fmt.Append(nil, held[from]))
			b.Put(keys[to], fmt.Append(nil, held[to]))
			if err := s.Write(&b); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for round := range 150 {
		n := snapshot(t, s)
		for round%3 > 0 && s.log.Published.Load() < n.Seq()+uint64(10*round%100) {
			runtime.Gosched() // so that keys change between the snapshot and its reads
		}
		sums := map[string]int{
			"Get": sum(func(add func([]byte) error) error {
				for _, key := range keys {
					value, err := n.Get(key)
					if err == nil {
						err = add(value)
					}
					if err != nil {
						return err
					}
				}
				return nil
			}),
			"GetMany": sum(func(add func([]byte) error) error {
				return n.GetMany(keys, func(_ int, value []byte, err error) error {
					if err != nil {
						return err
					}
					return add(value)
				})
			}),
			"Scan": sum(func(add func([]byte) error) error {
				return n.Scan(ScanOptions{}, func(_, value []byte) error { return add(value) })
			}),
		}
		for what, total := range sums {
			if total != accounts*each {
				t.Fatalf("round %d: %s adds up to %d", round, what, total)
			}
		}
		n.Close()
	}
	stop.Store(true)
	running.Wait()
}

// While a Delete is being published, the index has lost the key, and the write does not count yet. A
// snapshot of before finds the key even then.
func TestSnapshotBesideThePublishing(t *testing.T) {
	hook, o := &readHook{FS: vfs.OS()}, byHand()
	o.SegmentSize = 4 << 20
	inject.Into(o, &inject.Seams{FS: hook, Manual: true})
	s := open(t, t.TempDir(), o)
	large := strings.Repeat("large", 60_000) // the index does not know its size, so publishing reads it
	put(t, s, "large", large)
	n := snapshot(t, s)
	hooked := false
	hook.before = func() {
		hooked = true
		read := make(chan error)
		go func() {
			value, err := n.Get([]byte("large"))
			if err == nil && string(value) != large {
				err = errors.New("another value")
			}
			read <- err
		}()
		if err := <-read; err != nil {
			t.Errorf("while a Delete is published: %v", err)
		}
	}
	if err := s.Delete([]byte("large")); err != nil {
		t.Fatal(err)
	}
	if !hooked {
		t.Fatal("publishing reads nothing")
	}
	wantThen(t, n, "large", large)
	wantAbsent(t, s, "large")
}

// TestSnapshotKeepsWhatExpires: a key that had not expired when the snapshot was made does not expire
// in it, swept or not, compacted or not. One that had expired does not come back if the clock is set
// back.
func TestSnapshotKeepsWhatExpires(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o := byHand()
	inject.Into(o, &inject.Seams{Now: func() time.Time { return now }, Manual: true})
	s := open(t, t.TempDir(), o)
	ttl := func(key string, seconds int) {
		if err := s.PutWithTTL([]byte(key), []byte("for a while"), time.Duration(seconds)*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	ttl("expired", 1)
	ttl("soon", 10)
	ttl("later", 100)
	put(t, s, "stays", "for ever")
	now = now.Add(time.Second)
	n := snapshot(t, s)
	check := func(when string) {
		t.Helper()
		for key, want := range map[string]time.Duration{"soon": 9 * time.Second, "later": 99 * time.Second, "stays": 0} {
			left, ok, err := n.TTL([]byte(key))
			if left != want || ok != (want > 0) || err != nil {
				t.Errorf("%s: TTL(%s) = %v, %v, %v", when, key, left, ok, err)
			}
			if _, err := n.Get([]byte(key)); err != nil {
				t.Errorf("%s: Get(%s): %v", when, key, err)
			}
		}
		wantThen(t, n, "expired", absent)
		if _, _, err := n.TTL([]byte("expired")); err != ErrNotFound {
			t.Errorf("%s: TTL of what has expired: %v", when, err)
		}
	}
	check("at once")
	now = now.Add(30 * time.Second)
	check("later")
	wantAbsent(t, s, "soon")
	for {
		did, err := s.sweeper.Step()
		if err != nil {
			t.Fatal(err)
		}
		if !did {
			break
		}
	}
	check("after a sweep")
	s.endForTest(t)
	compactAll(t, s)
	check("after a compaction")
	now = now.Add(-31 * time.Second)
	check("by a clock that was set back")
}

// TestSnapshotWhileTheIndexLoads: a snapshot is right from the first moment, with whatever step of
// loading it is made and read at, and also for keys that are written meanwhile.
func TestSnapshotWhileTheIndexLoads(t *testing.T) {
	for _, files := range []int{6, 7} {
		template := layers(t, files)
		for made := range files + 3 {
			s := openHeld(t, copyDir(t, template), nil)
			step := func() {
				if _, err := s.loading.Step(); err != nil {
					t.Fatal(err)
				}
			}
			for range made {
				step()
			}
			n := snapshot(t, s)
			check := func() {
				t.Helper()
				wantThen(t, n, "overwritten", fmt.Sprint("value ", files-1))
				for i := range files {
					wantThen(t, n, fmt.Sprint("new ", i), "value")
				}
				wantThen(t, n, "never", absent)
				turns := absent
				if files%2 == 1 {
					turns = "value"
				}
				wantThen(t, n, "there by turns", turns)
			}
			check()
			put(t, s, "overwritten", "now")
			put(t, s, "there by turns", "now")
			put(t, s, "never", "now")
			if err := s.Delete([]byte("new 1")); err != nil {
				t.Fatal(err)
			}
			for s.Stats().Loading {
				check()
				step()
			}
			check()
			s.endForTest(t)
			compactAll(t, s)
			check()
			wantAbsent(t, s, "new 1")
			closeStore(t, s)
		}
	}
}

// What happens to the values that a callback has, and to the snapshot, when the callback ends it.
func TestSnapshotThatItsCallbackCloses(t *testing.T) {
	for name, changed := range map[string]bool{"unchanged": false, "overwritten": true} {
		for what, end := range map[string]func(s *Store, n *Snapshot) error{
			"Snapshot.Close": func(_ *Store, n *Snapshot) error { return n.Close() },
			"Store.Close":    func(s *Store, _ *Snapshot) error { return s.Close() },
		} {
			s := open(t, t.TempDir(), byHand())
			fill(t, s, 0, 100, 50)
			n := snapshot(t, s)
			if changed {
				fill(t, s, 0, 100, 51)
				compactAll(t, s)
			}
			want := map[string]error{"Snapshot.Close": ErrDone, "Store.Close": ErrClosed}[what]
			key, value := numbered(7, 50)
			err := n.View(key, func(shown []byte) error {
				if err := end(s, n); err != nil {
					return err
				}
				if !bytes.Equal(shown, value) {
					return fmt.Errorf("the callback has %.20q", shown)
				}
				if _, err := n.Get(key); !errors.Is(err, want) {
					return fmt.Errorf("a second read: %v", err)
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			for read, err := range readsOf(n, key) {
				if !errors.Is(err, want) {
					t.Errorf("%s behind %s: %v", read, what, err)
				}
			}
			if n.Close() != nil {
				t.Error("Close is not idempotent")
			}
			if what == "Snapshot.Close" {
				wantNothingHeld(t, s)
			}
			closeStore(t, s)
		}
	}
}

// A scan, and GetMany, of a snapshot that ends meanwhile show nothing more.
func TestScanOfASnapshotThatEnds(t *testing.T) {
	for _, keysOnly := range []bool{false, true} {
		s := open(t, t.TempDir(), byHand())
		fill(t, s, 0, 100, 50)
		n := snapshot(t, s)
		shown := 0
		err := n.Scan(ScanOptions{KeysOnly: keysOnly}, func([]byte, []byte) error {
			shown++
			return n.Close()
		})
		if shown != 1 || !errors.Is(err, ErrDone) {
			t.Errorf("a scan shows %d pairs: %v", shown, err)
		}
		n = snapshot(t, s)
		var keys [][]byte
		for i := range 5 {
			key, _ := numbered(i, 50)
			keys = append(keys, key)
		}
		found, ended := 0, 0
		err = n.GetMany(keys, func(_ int, _ []byte, err error) error {
			if err == nil {
				found++
			} else if errors.Is(err, ErrDone) {
				ended++
			}
			return n.Close()
		})
		if err != nil || found != 1 || ended != 4 {
			t.Errorf("GetMany: %d found, %d ended: %v", found, ended, err)
		}
		if err := n.Scan(ScanOptions{}, func([]byte, []byte) error { return fs.SkipAll }); !errors.Is(err, ErrDone) {
			t.Error(err)
		}
		wantNothingHeld(t, s)
		closeStore(t, s)
	}
}

// TestSnapshotWhoseCallbackDoesNotReturn: a callback that panics, or ends its goroutine, leaves no use
// of the snapshot behind.
func TestSnapshotWhoseCallbackDoesNotReturn(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 100, 50)
	n := snapshot(t, s)
	fill(t, s, 0, 100, 51)
	compactAll(t, s)
	key, _ := numbered(7, 50)
	for what, leave := range map[string]func(){"a panic": func() { panic("a callback's") }, "Goexit": runtime.Goexit} {
		for read, call := range map[string]func(){
			"View":    func() { _ = n.View(key, func([]byte) error { leave(); return nil }) },
			"Scan":    func() { _ = n.Scan(ScanOptions{}, func([]byte, []byte) error { leave(); return nil }) },
			"GetMany": func() { _ = n.GetMany([][]byte{key}, func(int, []byte, error) error { leave(); return nil }) },
		} {
			done := make(chan any)
			go func() {
				defer func() { done <- recover() }()
				call()
			}()
			if got := <-done; what == "a panic" && got != "a callback's" {
				t.Errorf("%s: the panic became %v", read, got)
			}
		}
	}
	n.Close()
	wantNothingHeld(t, s)
}

// TestSnapshotsRaceClose: snapshots are made, read and closed while the store is closed.
func TestSnapshotsRaceClose(t *testing.T) {
	for range 30 {
		s := open(t, t.TempDir(), tiny())
		fill(t, s, 0, 100, 50)
		old, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		fill(t, s, 0, 50, 51)
		var running, started sync.WaitGroup
		for i := range 4 {
			started.Add(1)
			running.Go(func() {
				started.Done()
				for ; ; i++ {
					n, err := s.Snapshot()
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
					for _, r := range []*Snapshot{n, old} {
						key, want := numbered(i%50, 50)
						if got, err := r.Get(key); err != nil && !errors.Is(err, ErrClosed) || err == nil && r == old && !bytes.Equal(got, want) {
							t.Errorf("%.10q, %v", got, err)
						}
						if _, err := r.Get([]byte("never")); err != ErrNotFound && !errors.Is(err, ErrClosed) {
							t.Errorf("never: %v", err)
						}
					}
					if i%3 > 0 {
						n.Close()
					} else if it, err := n.Iterator(ScanOptions{}); err == nil {
						it.Next()
						go n.Close()
						it.Next()
						it.Close()
					}
				}
			})
		}
		started.Wait()
		closeStore(t, s)
		running.Wait()
		old.Close()
	}
}
