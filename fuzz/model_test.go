package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

// TestStoreIsAModelMap performs random actions on a store and on a map whose values expire, and
// compares everything that the store's methods return. rapid prints how to replay a failure.
func TestStoreIsAModelMap(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			m := newModel(t, crashfs.New(), "/store", true)
			for range max(6/sampleOneIn, 1) {
				t.Repeat(m.actions())
			}
			m.reopen(t)
		})
	})
	t.Run("on a real disk", func(t *testing.T) {
		root := t.TempDir()
		rapid.Check(t, func(t *rapid.T) {
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			m := newModel(t, vfs.OS(), dir, false)
			t.Repeat(m.actions())
			m.reopen(t)
		})
	})
}

// model is a store and what must be in it.
type model struct {
	disk      vfs.FS
	dir       string
	byHand    bool // the test runs the background steps
	policy    fsync.Policy
	pageSlots int
	hash      func(key []byte) (hash uint64, check uint32)
	random    func() uint64

	store   *mmapkv.Store
	steps   []inject.Step
	clock   atomic.Int64 // Unix milliseconds
	entries map[string]*entry

	iterators []*modelIterator // that are open
	snapshots []*modelSnapshot // that are open
	latest    int64            // how late the clock has been, in Unix milliseconds
	serial    int              // numbers the values
}

// entry is a value that was put and neither overwritten nor deleted. Reads stop finding it as
// soon as it expires. Whether it reappears when the clock is set back depends on what happened
// in between: Open leaves expired entries out of the index, the sweep removes them from the
// index, and compaction may remove them from the index and from the disk.
type entry struct {
	value   string
	expiry  int64 // Unix milliseconds; 0: never
	indexed maybe
	stored  maybe
}

type maybe int

const (
	no maybe = iota
	unknown
	yes
)

// The keys: empty, short, of every length modulo the alignment, longer than a segment, of the
// maximum length.
var modelKeys = func() (keys []string) {
	for n := range 20 {
		keys = append(keys, strings.Repeat("k", n))
	}
	for n := range 20 {
		keys = append(keys, fmt.Sprint("key ", n))
	}
	return append(keys, "\x00", "\xff\xff", strings.Repeat("long", 75), strings.Repeat("longer", 700),
		strings.Repeat("L", mmapkv.MaxKeySize))
}()

var (
	// Draws the very long keys seldom.
	keyGenerator = rapid.Custom(func(t *rapid.T) string {
		n := rapid.IntRange(0, len(modelKeys)-1).Draw(t, "key")
		if n >= len(modelKeys)-2 && rapid.IntRange(0, 3).Draw(t, "not so long") != 0 {
			n = 0
		}
		return modelKeys[n]
	})
	// From nothing to values that are larger than several segments and have a file of their
	// own.
	sizeGenerator = rapid.OneOf(rapid.IntRange(0, 60), rapid.IntRange(0, 60), rapid.IntRange(600, 1500),
		rapid.IntRange(3900, 4200), rapid.SampledFrom([]int{0, 5000, 20_000, 70_000}))
	ttlGenerator = rapid.OneOf(
		rapid.Map(rapid.IntRange(1, 800), func(n int) time.Duration { return time.Duration(n) * time.Millisecond }),
		rapid.SampledFrom([]time.Duration{1, time.Millisecond - 1, 1500 * time.Microsecond, time.Hour, math.MaxInt64}))
)

func newModel(t *rapid.T, disk vfs.FS, dir string, byHand bool) *model {
	m := &model{disk: disk, dir: dir, byHand: byHand, entries: map[string]*entry{}}
	m.policy = rapid.SampledFrom([]fsync.Policy{fsync.Never, fsync.Every(200 * time.Millisecond), fsync.Always}).Draw(t, "policy")
	m.pageSlots = rapid.SampledFrom([]int{1, 2, 8, 16}).Draw(t, "page slots")
	if rapid.Bool().Draw(t, "colliding hashes") {
		m.hash = func(key []byte) (uint64, uint32) {
			check := crc32.ChecksumIEEE(key)
			return uint64(check & 3), check
		}
	}
	if byHand {
		m.random = rand.New(rand.NewPCG(1, 2)).Uint64
	}
	m.clock.Store(1_000_000_000)
	m.open(t, false)
	t.Cleanup(func() { m.store.Close() })
	return m
}

func (m *model) now() int64 { return m.clock.Load() }

// open opens the store, and notes that expired entries are not in its index.
func (m *model) open(t *rapid.T, readOnly bool) {
	o := &mmapkv.Options{
		SegmentSize: int64(rapid.SampledFrom([]int{4 << 10, 4 << 10, 8 << 10}).Draw(t, "segment size")),
		Sync:        m.policy,
		ReadOnly:    readOnly,
		Compaction:  mmapkv.Compaction{Disabled: !m.byHand, GarbageRatio: 0.1},
	}
	inject.Into(o, &inject.Seams{
		FS:        m.disk,
		Now:       func() time.Time { return time.UnixMilli(m.now()) },
		Random:    m.random,
		Hash:      m.hash,
		PageSlots: m.pageSlots,
		Manual:    m.byHand,
		OnOpen:    func(steps []inject.Step) { m.steps = steps },
	})
	var err error
	if m.store, err = mmapkv.Open(m.dir, o); err != nil {
		t.Fatalf("Open: %v", err)
	}
	if r := m.store.Stats().Recovery; !r.Clean && len(m.entries) > 0 || len(r.Damages) > 0 {
		t.Fatalf("Open after Close recovered: %+v", r)
	}
	for _, e := range m.entries {
		e.indexed = e.stored
		if m.expired(e) {
			e.indexed = no
		}
	}
}

func (m *model) expired(e *entry) bool { return e.expiry != 0 && e.expiry <= m.now() }

// compacted notes that a compaction may have removed any expired entry.
func (m *model) compacted() {
	m.swept(unknown)
	for _, e := range m.entries {
		if e.indexed != yes {
			e.stored = unknown
		}
	}
}

func (m *model) put(key, value string, expiry int64) {
	m.entries[key] = &entry{value, expiry, yes, yes}
}

func (m *model) expiryAfter(ttl time.Duration) int64 {
	return max(time.UnixMilli(m.now()).Add(ttl).UnixMilli(), 1)
}

// find returns what a read of the key must find. Where the model cannot know it, the store's
// first answer decides.
func (m *model) find(t *rapid.T, key string) (e *entry, found bool) {
	e = m.entries[key]
	if e == nil || m.expired(e) {
		return nil, false
	}
	if e.indexed == unknown {
		has, err := m.store.Has([]byte(key))
		if err != nil {
			t.Fatalf("Has(%.20q): %v", key, err)
		}
		e.indexed = no
		if has {
			e.indexed, e.stored = yes, yes
		}
	}
	return e, e.indexed == yes
}

// newValue draws a unique value.
func (m *model) newValue(t *rapid.T) string {
	m.serial++
	piece := fmt.Sprint("value ", m.serial, "; ")
	size := sizeGenerator.Draw(t, "size")
	return strings.Repeat(piece, size/len(piece)+1)[:size]
}

// actions are the actions that may happen. The one without a name checks what must hold after
// each.
func (m *model) actions() map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){
		"":               m.checkLen,
		"Put":            m.doPut,
		"PutWithTTL":     m.doPutWithTTL,
		"Delete":         m.doDelete,
		"Write":          m.doWrite,
		"Put many":       m.doPutMany,
		"Put in a View":  m.doPutInView,
		"PutIfAbsent":    m.doPutIfAbsent,
		"a swap":         m.doSwap,
		"a delete if":    m.doCompareAndDelete,
		"DeleteRange":    m.doDeleteRange,
		"refused writes": m.doRefusedWrites,
		"reads":          func(t *rapid.T) { m.checkKey(t, keyGenerator.Draw(t, "key")) },
		"all reads":      m.checkAll,
		"Sync":           func(t *rapid.T) { m.must(t, "Sync", m.store.Sync()) },
		"Compact":        m.doCompact,
		"clock forward":  func(t *rapid.T) { m.clock.Add(rapid.Int64Range(1, 1000).Draw(t, "milliseconds")) },
		"clock back": func(t *rapid.T) {
			m.latest = max(m.latest, m.now())
			m.clock.Add(-rapid.Int64Range(1, 1000).Draw(t, "milliseconds"))
		},
		"reopen":    m.reopen,
		"read-only": m.doReadOnly,

		"Scan":                     m.doScan,
		"Iterator":                 m.doIterate,
		"moves":                    m.doMove,
		"Close of an Iterator":     m.doEndIterator,
		"Delete under an Iterator": m.doDeleteUnderIterator,
		"Snapshot":                 m.doSnapshot,
		"reads of a Snapshot":      m.doReadSnapshot,
		"Close of a Snapshot":      m.doEndSnapshot,
	}
	if m.byHand {
		actions["step"] = m.doStep
	}
	return actions
}

func (m *model) must(t *rapid.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// writing calls write with copies, and then overwrites them: a store must not keep its caller's
// slices.
func writing(key, value string, write func(key, value []byte) error) error {
	k, v := []byte(key), []byte(value)
	err := write(k, v)
	for _, b := range [][]byte{k, v} {
		for i := range b {
			b[i] = '!'
		}
	}
	return err
}

func (m *model) doPut(t *rapid.T) {
	key, value := keyGenerator.Draw(t, "key"), m.newValue(t)
	m.must(t, "Put", writing(key, value, m.store.Put))
	m.put(key, value, 0)
	m.checkKey(t, key)
}

func (m *model) doPutWithTTL(t *rapid.T) {
	key, value, ttl := keyGenerator.Draw(t, "key"), m.newValue(t), ttlGenerator.Draw(t, "ttl")
	m.must(t, "PutWithTTL", writing(key, value, func(k, v []byte) error { return m.store.PutWithTTL(k, v, ttl) }))
	m.put(key, value, m.expiryAfter(ttl))
	m.checkKey(t, key)
}

func (m *model) doDelete(t *rapid.T) {
	key := keyGenerator.Draw(t, "key")
	m.must(t, "Delete", writing(key, "", func(k, _ []byte) error { return m.store.Delete(k) }))
	delete(m.entries, key)
	m.checkKey(t, key)
}

// doWrite writes a batch, which may contain a key several times. It writes some batches twice;
// the second write starts the time to live anew.
func (m *model) doWrite(t *rapid.T) {
	var b mmapkv.Batch
	var apply []func()
	for range rapid.IntRange(0, 6).Draw(t, "entries") {
		key := keyGenerator.Draw(t, "key")
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			_ = writing(key, "", func(k, _ []byte) error { b.Delete(k); return nil })
			apply = append(apply, func() { delete(m.entries, key) })
		case 1:
			value, ttl := m.newValue(t), ttlGenerator.Draw(t, "ttl")
			_ = writing(key, value, func(k, v []byte) error { b.PutWithTTL(k, v, ttl); return nil })
			apply = append(apply, func() { m.put(key, value, m.expiryAfter(ttl)) })
		default:
			value := m.newValue(t)
			_ = writing(key, value, func(k, v []byte) error { b.Put(k, v); return nil })
			apply = append(apply, func() { m.put(key, value, 0) })
		}
	}
	for again := true; again; {
		m.must(t, "Write", m.store.Write(&b))
		for _, change := range apply {
			change()
		}
		if again = rapid.IntRange(0, 7).Draw(t, "again") == 7; again {
			m.clock.Add(100)
		}
	}
}

// doPutMany fills segments.
func (m *model) doPutMany(t *rapid.T) {
	first := rapid.IntRange(0, len(modelKeys)-1).Draw(t, "first key")
	for n := range rapid.IntRange(1, 30).Draw(t, "puts") {
		key := modelKeys[(first+n)%(len(modelKeys)-2)]
		m.serial++
		value := strings.Repeat(fmt.Sprint("one of many ", m.serial, "; "), 1+n%20)
		m.must(t, "Put", writing(key, value, m.store.Put))
		m.put(key, value, 0)
	}
}

// doPutInView puts the value that a View shows of another key, or of the same.
func (m *model) doPutInView(t *rapid.T) {
	from, to := keyGenerator.Draw(t, "from"), keyGenerator.Draw(t, "to")
	e, found := m.find(t, from)
	err := m.store.View([]byte(from), func(value []byte) error { return m.store.Put([]byte(to), value) })
	if !found {
		if !errors.Is(err, mmapkv.ErrNotFound) {
			t.Fatalf("View(%.20q): %v", from, err)
		}
		return
	}
	m.must(t, "Put in a View", err)
	m.put(to, e.value, 0)
	m.checkKey(t, from)
	m.checkKey(t, to)
}

// doRefusedWrites makes writes that the store must refuse, as a whole.
func (m *model) doRefusedWrites(t *rapid.T) {
	key, tooLong := []byte(keyGenerator.Draw(t, "key")), make([]byte, mmapkv.MaxKeySize+1)
	var large, late mmapkv.Batch
	large.Put(key, []byte("never"))
	large.Delete(tooLong)
	late.Put(key, []byte("never"))
	late.PutWithTTL(key, []byte("never"), 0)
	for _, c := range []struct {
		what    string
		err, is error
	}{
		{"Put", m.store.Put(tooLong, key), mmapkv.ErrTooLarge},
		{"Delete", m.store.Delete(tooLong), mmapkv.ErrTooLarge},
		{"Write", m.store.Write(&large), mmapkv.ErrTooLarge},
		{"PutWithTTL", m.store.PutWithTTL(key, key, -1), mmapkv.ErrInvalid},
		{"Write", m.store.Write(&late), mmapkv.ErrInvalid},
	} {
		if !errors.Is(c.err, c.is) {
			t.Fatalf("%s: %v; want %v", c.what, c.err, c.is)
		}
	}
	m.checkKey(t, string(key))
}

func (m *model) doCompact(t *rapid.T) {
	m.must(t, "Compact", m.store.Compact(context.Background()))
	m.compacted()
}

func (m *model) doStep(t *rapid.T) {
	step := rapid.SampledFrom(m.steps).Draw(t, "step")
	if step.Name == "prepare" {
		m.doPut(t) // the background never prepares a file before the first write
	}
	_, err := step.Run()
	m.must(t, step.Name, err)
	switch step.Name {
	case "compact":
		m.compacted()
	case "expire":
		m.swept(no)
	}
}

// swept notes that a sweep ran: at most left remains in the index of expired entries.
func (m *model) swept(left maybe) {
	for _, e := range m.entries {
		if m.expired(e) {
			e.indexed = min(e.indexed, left)
		}
	}
}

// reopen closes the store and opens it again.
func (m *model) reopen(t *rapid.T) {
	m.close(t)
	m.open(t, false)
	m.checkAccounts(t, m.store.Stats())
	m.checkAll(t)
}

// doReadOnly opens the store read-only and checks it.
func (m *model) doReadOnly(t *rapid.T) {
	m.close(t)
	m.open(t, true)
	m.checkAll(t)
	m.compareScan(t, false)
	m.doMove(t)
	for what, err := range map[string]error{
		"Put":     m.store.Put(nil, nil),
		"Delete":  m.store.Delete(nil),
		"Write":   m.store.Write(&mmapkv.Batch{}),
		"Compact": m.store.Compact(context.Background()),
	} {
		if !errors.Is(err, mmapkv.ErrReadOnly) {
			t.Fatalf("%s on a read-only store: %v", what, err)
		}
	}
	m.wantReadOnly(t)
	m.must(t, "Close of a read-only store", m.store.Close())
	m.iteratorsEnded(t)
	m.snapshotsEnded(t)
	m.open(t, false)
	m.checkAccounts(t, m.store.Stats())
	m.checkAll(t)
}

func (m *model) close(t *rapid.T) {
	stats := m.store.Stats()
	m.must(t, "Close", m.store.Close())
	m.iteratorsEnded(t)
	m.snapshotsEnded(t)
	m.checkAccounts(t, stats)
	if _, err := m.store.Get(nil); !errors.Is(err, mmapkv.ErrClosed) {
		t.Fatalf("Get after Close: %v", err)
	}
}

// checkLen checks Len, which counts expired entries until the store finds them expired.
func (m *model) checkLen(t *rapid.T) {
	if !m.byHand {
		m.swept(unknown) // the background sweep may have run
	}
	low, high := 0, 0
	for _, e := range m.entries {
		if e.indexed == yes {
			low++
		}
		if e.indexed != no {
			high++
		}
	}
	if n := m.store.Len(); n < low || n > high || m.store.Stats().Keys != n {
		t.Fatalf("Len is %d; want %d to %d", n, low, high)
	}
}

// checkKey compares every way to read one key.
func (m *model) checkKey(t *rapid.T, key string) {
	t.Helper()
	m.checkSize(t, key)
	e, found := m.find(t, key)
	var shown []byte
	calls, failed := 0, errors.New("of the callback")
	viewed := m.store.View([]byte(key), func(value []byte) error {
		calls++
		shown = bytes.Clone(value)
		return failed
	})
	got, err := m.store.Get([]byte(key))
	before := append(make([]byte, 0, 20), "before"...)
	after, appended := m.store.AppendGet(before, []byte(key))
	has, hasErr := m.store.Has([]byte(key))
	left, expires, ttlErr := m.store.TTL([]byte(key))
	var many []byte
	manyErr := m.store.GetMany([][]byte{[]byte("another key"), []byte(key)}, func(i int, value []byte, err error) error {
		if i == 1 {
			many = bytes.Clone(value)
			return err
		}
		return nil
	})
	if hasErr != nil || has != found {
		t.Fatalf("Has(%.20q) = %v, %v; want %v", key, has, hasErr, found)
	}
	if !found {
		for what, err := range map[string]error{"Get": err, "View": viewed, "AppendGet": appended, "TTL": ttlErr, "GetMany": manyErr} {
			if !errors.Is(err, mmapkv.ErrNotFound) {
				t.Fatalf("%s(%.20q): %v; want ErrNotFound", what, key, err)
			}
		}
		if calls > 0 || string(after) != "before" || cap(after) != cap(before) {
			t.Fatalf("reads of the absent key %.20q called back %d times and returned %q", key, calls, after)
		}
		return
	}
	if err != nil || got == nil || string(got) != e.value {
		t.Fatalf("Get(%.20q) = %.40q, %d bytes, %v; want %.40q, %d bytes", key, got, len(got), err, e.value, len(e.value))
	}
	if viewed != failed || calls != 1 || string(shown) != e.value {
		t.Fatalf("View(%.20q) shows %.40q, %d times, %v; want %.40q", key, shown, calls, viewed, e.value)
	}
	if manyErr != nil || string(many) != e.value {
		t.Fatalf("GetMany shows %.40q for %.20q, %v; want %.40q", many, key, manyErr, e.value)
	}
	if appended != nil || string(after) != "before"+e.value {
		t.Fatalf("AppendGet(%.20q) = %.40q, %v; want %.40q appended", key, after, appended, e.value)
	}
	want := time.UnixMilli(e.expiry).Sub(time.UnixMilli(m.now()))
	if ttlErr != nil || expires != (e.expiry != 0) || expires && left != want {
		t.Fatalf("TTL(%.20q) = %v, %v, %v; want %v of expiry %d", key, left, expires, ttlErr, want, e.expiry)
	}
}

// checkAll compares the whole content, in every way to read.
func (m *model) checkAll(t *rapid.T) {
	t.Helper()
	want := map[string]string{}
	for _, key := range modelKeys {
		m.checkKey(t, key)
		if e, found := m.find(t, key); found {
			want[key] = e.value
		}
	}
	ranged := map[string]string{}
	m.must(t, "Range", m.store.Range(func(key, value []byte) error {
		if _, twice := ranged[string(key)]; twice {
			return fmt.Errorf("%.20q is shown twice", key)
		}
		ranged[string(key)] = string(value)
		return nil
	}))
	if !maps.Equal(ranged, want) {
		t.Fatalf("Range shows %.1000q; want %.1000q", fmt.Sprint(ranged), fmt.Sprint(want))
	}
	keys := 0
	for key := range m.store.Keys() {
		keys++
		if _, there := want[string(key)]; !there {
			t.Fatalf("Keys yields the absent key %.20q", key)
		}
		delete(want, string(key))
	}
	if len(want) > 0 || keys != len(ranged) {
		t.Fatalf("Keys yields %d keys of %d", keys, len(ranged))
	}
	m.checkOrder(t, ranged)
	m.checkLen(t)
}

// account counts the bytes of one file: all its records, all its hint entries, and the minimum
// and maximum of what the index points to, hint entries included.
type account struct{ records, hints, minLive, maxLive int64 }

// checkAccounts compares what Stats says of live and dead bytes with a count of
// the records on disk. The store is closed, or has just been opened.
func (m *model) checkAccounts(t *rapid.T, stats mmapkv.Stats) {
	t.Helper()
	want := m.count(t)
	var live, dead int64
	for _, s := range stats.Segments {
		a := want[s.File]
		// Hint entries are counted late, so the sum may lack some of them.
		if s.LiveBytes < a.minLive || s.LiveBytes > a.maxLive ||
			s.LiveBytes+s.DeadBytes < a.records || s.LiveBytes+s.DeadBytes > a.records+a.hints {
			t.Fatalf("Stats says %+v; the files have %+v", s, a)
		}
		live, dead = live+s.LiveBytes, dead+s.DeadBytes
		delete(want, s.File)
	}
	if live != stats.LiveBytes || dead != stats.DeadBytes {
		t.Fatalf("Stats says %d live bytes and %d dead ones; its segments have %d and %d", stats.LiveBytes, stats.DeadBytes, live, dead)
	}
	if len(want) > 0 {
		t.Fatalf("Stats leaves out %+v", want)
	}
}

// count reads all segments after a clean Close.
func (m *model) count(t *rapid.T) map[string]account {
	dir, err := m.disk.OpenDir(m.dir)
	m.must(t, "OpenDir", err)
	defer dir.Close()
	manifest, err := segment.ParseManifest(m.content(t, dir, segment.ManifestName))
	m.must(t, "the manifest", err)
	type place struct {
		file      string
		size      int64
		seq       uint64
		tombstone bool
	}
	accounts, newest := map[string]account{}, map[string]place{}
	for _, info := range manifest.Segments {
		name := segment.FileName(info.ID)
		content := m.content(t, dir, name)
		header, err := segment.ReadHeader(bytes.NewReader(content), int64(len(content)))
		m.must(t, name, err)
		a, keys := account{records: info.End.Offset - header.Size()}, map[string]bool{}
		walker := segment.NewWalker(bytes.NewReader(content), info.Salt, header.Size(), info.End.Offset)
		for {
			var r segment.Record
			if err := walker.Next(&r); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s at %d: %v", name, walker.Offset(), err)
			}
			key := string(r.Key)
			if !keys[key] {
				a.hints += segment.HintEntrySize(len(key))
			}
			keys[key] = true
			if r.Seq >= newest[key].seq {
				newest[key] = place{name, r.Size, r.Seq, r.Flags&segment.Tombstone != 0}
			}
		}
		accounts[name] = a
	}
	for key, p := range newest {
		e, a := m.entries[key], accounts[p.file]
		if e == nil || p.tombstone {
			continue
		}
		bytes := p.size + segment.HintEntrySize(len(key))
		if e.indexed == yes {
			a.minLive += bytes
		}
		if e.indexed != no {
			a.maxLive += bytes
		}
		accounts[p.file] = a
	}
	return accounts
}

// content returns the content of a file.
func (m *model) content(t *rapid.T, dir vfs.Dir, name string) []byte {
	f, err := dir.OpenReadOnly(name)
	m.must(t, name, err)
	defer f.Close()
	size, err := f.Size()
	m.must(t, name, err)
	content := make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, size), content)
	m.must(t, name, err)
	return content
}
