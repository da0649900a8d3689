//go:build !race && !invariants

// Race builds, and callbacks under the invariants tag, read heap copies, which never fault.

package fuzz

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

var (
	mappedFaults = flag.Int64("mapped.faults", 30_000, "number of faults in reads after which TestMappedFaults ends")
	mappedTime   = flag.Duration("mapped.time", 3*time.Second, "time after which TestMappedFaults ends in any case; 0: no limit")
	mappedSeed   = flag.Uint64("mapped.seed", 0, "seed of TestMappedFaults; 0 draws one")
)

// TestMappedFaults truncates the files of stores under concurrent readers that use every read
// method, and then restores the bytes. A read returns the value or says where the damage is. It
// returns every value that the file still has. Nothing hangs, and the store can still write and
// close.
func TestMappedFaults(t *testing.T) {
	seed := *mappedSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-mapped.seed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	began := time.Now()
	var total mappedCounts
	rounds := 0
	for total.faults.Load() < *mappedFaults && (*mappedTime == 0 || time.Since(began) < *mappedTime) && !t.Failed() {
		goroutines := runtime.NumGoroutine()
		newMappedRun(t, rng, &total).run()
		wantGoroutines(t, goroutines)
		rounds++
	}
	t.Logf("%d faults recovered, %d other damages, %d values read, %d cuts, %d stores, %v",
		total.faults.Load(), total.damages.Load(), total.values.Load(), total.cuts.Load(), rounds, time.Since(began))
	if total.faults.Load() == 0 {
		t.Error("no read met a fault")
	}
}

type mappedCounts struct{ faults, damages, values, cuts atomic.Int64 }

// mappedRun is the life of one store.
type mappedRun struct {
	t      *testing.T
	rng    *rand.Rand
	counts *mappedCounts
	dir    string
	store  *mmapkv.Store
	pairs  []*mappedPair
	files  []*mappedFile
	stop   atomic.Bool
	// healing keeps callbacks out while bytes are restored: a callback's fault in a page that
	// has become readable again would be taken for an attempt to write.
	healing sync.RWMutex
	// state is where the files are cut; nil while that changes.
	state atomic.Pointer[mappedState]
}

type mappedFile struct {
	name    string
	content []byte
	tail    bool // the active file, which is cut only at the end of the run
}

// mappedPair is a key, its value, and where both are stored.
type mappedPair struct {
	key, value []byte
	file       int
	keyEnd     int64
	valueEnd   int64
}

// mappedState says where each file has been cut.
type mappedState struct{ cut []int64 }

func newMappedRun(t *testing.T, rng *rand.Rand, counts *mappedCounts) *mappedRun {
	r := &mappedRun{t: t, rng: rng, counts: counts, dir: t.TempDir()}
	r.open()
	for i := range 300 {
		p := &mappedPair{key: fmt.Appendf(nil, "key-%05d", i)}
		size := rng.IntN(6000)
		if i == 150 {
			size = 300_000 // too long for the index to store the length
		}
		p.value = make([]byte, size)
		for j := range p.value {
			p.value[j] = byte(1 + rng.IntN(255)) // no zeros, so that the zeros of a cut page are wrong
		}
		put := r.store.Put
		if i%3 == 0 {
			put = func(key, value []byte) error { return r.store.PutWithTTL(key, value, time.Hour) }
		}
		if err := put(p.key, p.value); err != nil {
			t.Fatal(err)
		}
		r.pairs = append(r.pairs, p)
	}
	if rng.IntN(2) == 0 {
		r.close()
		r.open()
	}
	r.locate()
	return r
}

func (r *mappedRun) open() {
	options := mmapkv.Options{SegmentSize: 256 << 10, Sync: fsync.Never}
	options.Compaction.Disabled = true // until the end, so that records stay in place
	var err error
	if r.store, err = mmapkv.Open(r.dir, &options); err != nil {
		r.t.Fatal(err)
	}
}

func (r *mappedRun) close() {
	if err := r.store.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// locate finds each record by its bytes.
func (r *mappedRun) locate() {
	if err := r.store.Sync(); err != nil {
		r.t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(r.dir, "*.seg"))
	if err != nil {
		r.t.Fatal(err)
	}
	for i, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		r.files = append(r.files, &mappedFile{name: name, content: content})
		for _, p := range r.pairs {
			if at := bytes.Index(content, slices.Concat(p.key, p.value)); at >= 0 {
				p.file, p.keyEnd = i, int64(at+len(p.key))
				p.valueEnd = p.keyEnd + int64(len(p.value))
			}
		}
	}
	for _, p := range r.pairs {
		if p.keyEnd == 0 {
			r.t.Fatalf("no file contains %s", p.key)
		}
	}
	tail := r.pairs[len(r.pairs)-1].file
	r.files = r.files[:tail+1] // drop a file that is prepared for later: it has no records
	r.files[tail].tail = true
	r.addTables()
}

// addTables adds the hints that there are: they are cut like the rest.
func (r *mappedRun) addTables() {
	names, err := filepath.Glob(filepath.Join(r.dir, "*.hint"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		r.files = append(r.files, &mappedFile{name: name, content: content})
	}
}

func (r *mappedRun) run() {
	r.restoreAll()
	var readers sync.WaitGroup
	for range 4 {
		seed := r.rng.Uint64()
		readers.Go(func() { r.read(rand.New(rand.NewPCG(seed, 2))) })
	}
	for range 30 {
		r.cutSome(true)
		time.Sleep(time.Duration(r.rng.IntN(2000)) * time.Microsecond)
		if r.rng.IntN(4) == 0 {
			r.restoreAll()
		}
	}
	r.stop.Store(true)
	r.wait(&readers)
	r.restoreAll()
	r.wantAll("after the bytes were restored")
	r.cutSome(false)
	r.readEach()
	r.writeAndClose()
}

// wait ends the test, with all stacks, when readers hang.
func (r *mappedRun) wait(readers *sync.WaitGroup) {
	timer := time.AfterFunc(time.Minute, func() { panic("readers hang") })
	defer timer.Stop()
	readers.Wait()
}

// cutSome cuts some of the files, anywhere. While readers run it skips the tail and cuts only
// between pages. If it cut within a page, the rest of that page would read as zeros, and a
// callback with a checked value could see them. Lost pages fault instead.
func (r *mappedRun) cutSome(besideReaders bool) {
	old := r.state.Swap(nil)
	next := &mappedState{cut: slices.Clone(old.cut)}
	for i, f := range r.files {
		if r.rng.IntN(3) > 0 || f.tail && besideReaders {
			continue
		}
		to := r.rng.Int64N(int64(len(f.content)))
		if besideReaders {
			to -= to % int64(os.Getpagesize())
		}
		if to >= next.cut[i] {
			continue
		}
		if err := os.Truncate(f.name, to); err != nil {
			r.t.Error(err)
		}
		next.cut[i] = to
		r.counts.cuts.Add(1)
	}
	r.state.Store(next)
}

// restoreAll restores all bytes.
func (r *mappedRun) restoreAll() {
	r.healing.Lock()
	defer r.healing.Unlock()
	r.state.Store(nil)
	next := &mappedState{}
	for _, f := range r.files {
		next.cut = append(next.cut, int64(len(f.content)))
		if f.tail {
			continue
		}
		file, err := os.OpenFile(f.name, os.O_WRONLY, 0)
		if err == nil {
			_, err = file.WriteAt(f.content, 0)
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			r.t.Error(err)
		}
	}
	r.state.Store(next)
}

// mappedReads are the ways to read a key. Each checks what it gets.
var mappedReads = []struct {
	name  string
	whole bool // it reads the value
	calls bool // it passes the value to a callback
	by    func(r *mappedRun, p, other *mappedPair) error
}{
	{"Get", true, false, func(r *mappedRun, p, _ *mappedPair) error {
		got, err := r.store.Get(p.key)
		return r.same(p, got, err)
	}},
	{"AppendGet", true, false, func(r *mappedRun, p, _ *mappedPair) error {
		kept := []byte("kept")
		got, err := r.store.AppendGet(kept, p.key)
		if err != nil && string(got) != "kept" {
			r.t.Errorf("AppendGet returned %.40q with the error %v", got, err)
		}
		return r.same(p, bytes.TrimPrefix(got, kept), err)
	}},
	{"View", true, true, func(r *mappedRun, p, _ *mappedPair) error {
		return r.store.View(p.key, func(value []byte) error { return r.same(p, value, nil) })
	}},
	{"View in View", true, true, func(r *mappedRun, p, other *mappedPair) error {
		return r.store.View(p.key, func(value []byte) error {
			_ = r.store.View(other.key, func(inner []byte) error {
				_ = r.same(p, value, nil) // the outer View handles faults of the outer value
				return r.same(other, inner, nil)
			})
			return r.same(p, value, nil)
		})
	}},
	{"GetMany", true, true, func(r *mappedRun, p, other *mappedPair) error {
		var met error
		err := r.store.GetMany([][]byte{other.key, p.key, other.key}, func(i int, value []byte, err error) error {
			if i == 1 {
				met = r.same(p, value, err)
			} else if err == nil {
				_ = r.same(other, value, nil)
			}
			return nil
		})
		return errors.Join(err, met)
	}},
	{"Put of a viewed value", true, true, func(r *mappedRun, p, _ *mappedPair) error {
		return r.store.View(p.key, func(value []byte) error { return r.store.Put([]byte("a copy"), value[:min(len(value), 100)]) })
	}},
	{"Write of a viewed value", true, true, func(r *mappedRun, p, _ *mappedPair) error {
		return r.store.View(p.key, func(value []byte) error {
			var batch mmapkv.Batch
			batch.Put([]byte("a copy"), value[max(len(value)-100, 0):])
			return r.store.Write(&batch)
		})
	}},
	{"Has", false, false, func(r *mappedRun, p, _ *mappedPair) error {
		has, err := r.store.Has(p.key)
		if err == nil && !has {
			return mmapkv.ErrNotFound
		}
		return err
	}},
	{"TTL", false, false, func(r *mappedRun, p, _ *mappedPair) error {
		_, _, err := r.store.TTL(p.key)
		return err
	}},
}

var errWrongValue = errors.New("wrong value")

func (r *mappedRun) same(p *mappedPair, got []byte, err error) error {
	if err == nil && !bytes.Equal(got, p.value) {
		return errWrongValue
	}
	return err
}

// read reads until the run is over.
func (r *mappedRun) read(rng *rand.Rand) {
	for n := 0; !r.stop.Load() && !r.t.Failed(); n++ {
		if n%500 == 499 {
			r.readAll()
			continue
		}
		p := r.pairs[rng.IntN(len(r.pairs))]
		how := mappedReads[rng.IntN(len(mappedReads))]
		other := r.pairs[rng.IntN(len(r.pairs))]
		if how.calls {
			r.healing.RLock()
		}
		before := r.state.Load()
		err := how.by(r, p, other)
		r.check(how.name, p, how.whole, err, before)
		if how.calls {
			r.healing.RUnlock()
		}
	}
}

// check judges a read by what the files held, unless that changed during the read.
func (r *mappedRun) check(what string, p *mappedPair, whole bool, err error, before *mappedState) {
	r.count(what, string(p.key), err)
	if before == nil || r.state.Load() != before {
		return
	}
	end := p.keyEnd
	if whole {
		end = p.valueEnd
	}
	if cut := before.cut[p.file]; (err == nil) != (end <= cut) {
		r.t.Errorf("%s of %s, which ends at offset %d of a file of %d bytes: %v", what, p.key, end, cut, err)
	}
}

// count accepts only nil and a CorruptError that names the file.
func (r *mappedRun) count(what, key string, err error) {
	var corrupt *mmapkv.CorruptError
	switch {
	case err == nil:
		r.counts.values.Add(1)
	case !errors.As(err, &corrupt) || corrupt.File == "":
		r.t.Errorf("%s of %s: %v", what, key, err)
	case corrupt.Reason == "the page cannot be read":
		r.counts.faults.Add(1)
	default:
		r.counts.damages.Add(1)
	}
}

// readAll reads by the methods that iterate over all keys.
func (r *mappedRun) readAll() {
	want := map[string]*mappedPair{}
	for _, p := range r.pairs {
		want[string(p.key)] = p
	}
	for key := range r.store.Keys() {
		if want[string(key)] == nil && string(key) != "a copy" {
			r.t.Errorf("Keys yields %q", key)
		}
	}
	r.healing.RLock()
	defer r.healing.RUnlock()
	err := r.store.Range(func(key, value []byte) error {
		if p := want[string(key)]; p != nil {
			return r.same(p, value, nil)
		}
		return nil
	})
	r.count("Range", "all", err)
	for _, o := range orders {
		r.scanAll(o)
	}
}

// scanAll reads by Scan and by an Iterator, which show all pairs up to where they say what is damaged.
func (r *mappedRun) scanAll(o mmapkv.ScanOptions) {
	var want []*mappedPair // the keys are put in order
	for _, p := range r.pairs {
		if bytes.HasPrefix(p.key, o.Prefix) && bytes.Compare(p.key, o.From) >= 0 && (o.To == nil || bytes.Compare(p.key, o.To) < 0) {
			want = append(want, p)
		}
	}
	if o.Reverse {
		slices.Reverse(want)
	}
	shown := 0
	show := func(key, value []byte) error {
		if string(key) == "a copy" {
			return nil
		}
		if shown == len(want) || !bytes.Equal(key, want[shown].key) {
			r.t.Errorf("pair %d of %d in order is %q", shown, len(want), key)
			return errWrongValue
		}
		shown++
		if o.KeysOnly {
			return nil
		}
		return r.same(want[shown-1], value, nil)
	}
	err := r.store.Scan(o, show)
	if r.count("Scan", "all", err); err == nil && shown != len(want) {
		r.t.Errorf("a scan shows %d pairs of %d", shown, len(want))
	}
	it, err := r.store.Iterator(o)
	if err != nil {
		r.count("Iterator", "all", err)
		return
	}
	defer it.Close()
	shown = 0
	for it.Next() && !r.t.Failed() {
		if err = it.View(func(value []byte) error { return show(it.Key(), value) }); err != nil {
			break
		}
	}
	if err == nil {
		err = it.Err()
	}
	if r.count("an Iterator", "all", err); err == nil && shown != len(want) {
		r.t.Errorf("an Iterator shows %d pairs of %d", shown, len(want))
	}
}

func (r *mappedRun) wantAll(when string) {
	for _, p := range r.pairs {
		for _, how := range mappedReads {
			if err := how.by(r, p, r.pairs[0]); err != nil {
				r.t.Errorf("%s: %s of %s: %v", when, how.name, p.key, err)
			}
		}
	}
	shown := 0
	if err := r.store.Range(func(_, _ []byte) error { shown++; return nil }); err != nil || shown != len(r.pairs)+1 {
		r.t.Errorf("%s: Range shows %d pairs, %v", when, shown, err)
	}
	for _, reverse := range []bool{false, true} {
		pairs, err := scanned(r.store, mmapkv.ScanOptions{Reverse: reverse})
		if err != nil || len(pairs) != shown {
			r.t.Errorf("%s: a scan shows %d pairs of %d, reverse %v, %v", when, len(pairs), shown, reverse, err)
		}
	}
}

// readEach reads each key in each way, without concurrent readers.
func (r *mappedRun) readEach() {
	state := r.state.Load()
	for _, p := range r.pairs {
		for _, how := range mappedReads {
			r.check(how.name, p, how.whole, how.by(r, p, p), state)
		}
	}
}

// writeAndClose writes to the store with cut files, also to keys that it cannot read, compacts
// it and closes it. Each call works or says what is damaged.
func (r *mappedRun) writeAndClose() {
	for i := range 100 {
		p := r.pairs[r.rng.IntN(len(r.pairs))]
		p.value = fmt.Appendf(nil, "written while the files were cut %d", i)
		if err := r.store.Put(p.key, p.value); err != nil {
			r.t.Errorf("Put to a store with cut files: %v", err)
		}
		if got, err := r.store.Get(p.key); err != nil || !bytes.Equal(got, p.value) {
			r.t.Errorf("Get after Put to a store with cut files: %.40q, %v", got, err)
		}
	}
	if err := r.store.Delete(r.pairs[0].key); err != nil {
		r.t.Errorf("Delete in a store with cut files: %v", err)
	}
	r.pairs = r.pairs[1:]
	if err := r.store.Compact(context.Background()); err != nil && !errors.Is(err, mmapkv.ErrCorrupt) {
		r.t.Errorf("Compact of a store with cut files: %v", err)
	}
	damaged := r.readCut("after Compact")
	if err := r.store.Close(); err != nil {
		r.t.Errorf("Close of a store with cut files: %v", err)
	}
	if _, err := r.store.Get(r.pairs[0].key); !errors.Is(err, mmapkv.ErrClosed) {
		r.t.Errorf("Get after Close: %v", err)
	}
	var err error
	if r.store, err = mmapkv.Open(r.dir, nil); err != nil {
		if !errors.Is(err, mmapkv.ErrCorrupt) {
			r.t.Errorf("Open of a store with cut files: %v", err)
		}
		return
	}
	if damaged && len(r.store.Stats().Recovery.Damages) == 0 {
		r.t.Error("Open of a store with cut files reports no damage")
	}
	r.close()
}

// readCut reads each key, and reports whether any is damaged.
func (r *mappedRun) readCut(when string) (damaged bool) {
	for _, p := range r.pairs {
		got, err := r.store.Get(p.key)
		r.count("Get "+when, string(p.key), r.same(p, got, err))
		damaged = damaged || err != nil
	}
	return damaged
}

func wantGoroutines(t *testing.T, before int) {
	t.Helper()
	for range 12_000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}
