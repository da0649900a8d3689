package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
)

var (
	metaLists = flag.Int("meta.lists", 40, "how many lists of operations TestOptionsChangeNoAnswer runs")
	metaSeed  = flag.Uint64("meta.seed", 0, "the seed of the first list of TestOptionsChangeNoAnswer, increased by one for each further list; 0 draws one")
)

// metaVariants is the number of ways in which each list is run.
const metaVariants = 6

// TestOptionsChangeNoAnswer runs one list of operations on stores with different options. They
// do their background work at different times. Where the list allows it, they are closed,
// killed or neither. After each operation every store must answer exactly as a map would, and
// so all answer alike.
func TestOptionsChangeNoAnswer(t *testing.T) {
	seed := *metaSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; to replay: go test ./fuzz -run '^%s$' -meta.seed=%d -meta.lists=%d", seed, t.Name(), seed, *metaLists)
	var total metaCounts
	for list := range max(*metaLists/sampleOneIn, 1) {
		seed := seed + uint64(list)
		ops := metaList(rand.New(rand.NewPCG(seed, 0)))
		for variant := range uint64(metaVariants) {
			m := newMeta(t, rand.New(rand.NewPCG(seed, 1+variant)), &total)
			m.name = fmt.Sprintf("-meta.seed=%d -meta.lists=1, variant %d", seed, variant)
			m.run(ops)
		}
	}
	t.Logf("%+v", total)
	if total.Compactions == 0 || total.Kills == 0 || total.Closes == 0 || total.Steps == 0 {
		t.Error("one of these never happened")
	}
}

// metaCounts counts what happened.
type metaCounts struct{ Operations, Answers, Steps, Compactions, Kills, Closes int }

// metaOp is one operation of a list.
type metaOp struct {
	write  []oracle.Op // a change, or a batch; Expiry is the time to live
	clock  int64       // how far the clock moves, in milliseconds
	reopen bool        // here the store may be closed or killed
}

var metaKeys = func() (keys []string) {
	for n := range 24 {
		keys = append(keys, strings.Repeat("k", n%5)+fmt.Sprint(n))
	}
	return append(keys, "", "\x00", strings.Repeat("long", 75), strings.Repeat("longer", 700))
}()

// metaList draws a list. Nothing that expired becomes live again: the clock is set back only
// that far, since a compaction may or may not have removed the record.
func metaList(rng *rand.Rand) (list []metaOp) {
	now, expired := int64(0), int64(0) // expired is the time at which something last expired
	var expiries []int64
	for len(list) < 120 {
		var op metaOp
		switch p := rng.IntN(20); {
		case p < 14:
			for n := 1 + max(0, rng.IntN(10)-5); n > 0; n-- {
				w := metaWrite(rng)
				if w.Expiry != 0 {
					expiries = append(expiries, now+w.Expiry)
				}
				op.write = append(op.write, w)
			}
		case p < 17:
			op.clock = rng.Int64N(500)
		case p < 18:
			op.clock = -rng.Int64N(now - expired + 1)
		default:
			op.reopen = true
		}
		now += op.clock
		for _, expiry := range expiries {
			if expiry <= now {
				expired = max(expired, expiry)
			}
		}
		list = append(list, op)
	}
	return list
}

func metaWrite(rng *rand.Rand) oracle.Op {
	op := oracle.Op{Key: metaKeys[rng.IntN(len(metaKeys))]}
	switch p := rng.IntN(10); {
	case p < 2:
		op.Delete = true
		return op
	case p < 4:
		op.Expiry = 1 + rng.Int64N(800)
	}
	size := rng.IntN(60)
	switch p := rng.IntN(40); {
	case p < 6:
		size = 600 + rng.IntN(900)
	case p < 7:
		size = 5000
	case p < 8:
		size = 20_000
	}
	op.Value = strings.Repeat(fmt.Sprintf("%08x;", rng.Uint32()), size/9+1)[:size]
	return op
}

// meta is one run of a list.
type meta struct {
	t      *testing.T
	name   string
	at     int // the operation
	rng    *rand.Rand
	counts *metaCounts

	disk    *crashfs.Disk
	store   *mmapkv.Store
	steps   []inject.Step
	now     int64
	content oracle.State

	stepOneIn int // one operation in this many is preceded by background work
	pageSlots int
	collide   bool // many keys share few hashes
	killed    int  // how many of ten reopens are kills
	closed    int  // how many of ten reopens are closes
	ratio     float64
	disabled  bool
	policy    fsync.Policy
	opened    mmapkv.Options // of the last open
}

func newMeta(t *testing.T, rng *rand.Rand, counts *metaCounts) *meta {
	m := &meta{t: t, rng: rng, counts: counts, disk: crashfs.New(), now: 1_000_000, content: oracle.State{}}
	m.policy = []fsync.Policy{fsync.Always, fsync.Every(200 * time.Millisecond), fsync.Never}[rng.IntN(3)]
	m.stepOneIn = []int{1, 4, 1000}[rng.IntN(3)]
	m.pageSlots = []int{0, 1, 2, 8, 16}[rng.IntN(5)]
	m.collide = rng.IntN(3) == 0
	m.killed = rng.IntN(10)
	m.closed = rng.IntN(10 - m.killed)
	m.ratio = []float64{0, 0.02, 0.2, 0.9}[rng.IntN(4)]
	m.disabled = rng.IntN(3) == 0
	return m
}

// options draws the options that may change from one open to the next.
func (m *meta) options() *mmapkv.Options {
	return &mmapkv.Options{
		SegmentSize:      []int64{4 << 10, 4 << 10, 8 << 10, 64 << 10}[m.rng.IntN(4)],
		Sync:             m.policy,
		SkipReadChecksum: m.rng.IntN(2) == 0,
		ExpectedKeys:     []int{0, 10, 1000}[m.rng.IntN(3)],
		Compaction:       mmapkv.Compaction{Disabled: m.disabled, GarbageRatio: m.ratio},
	}
}

func (m *meta) fail(format string, args ...any) {
	m.t.Helper()
	o := m.opened
	m.t.Fatalf("%s, operation %d, with SegmentSize %d, Sync %v, SkipReadChecksum %v, ExpectedKeys %d, %+v, %d page slots, few hashes %v: %s",
		m.name, m.at, o.SegmentSize, o.Sync, o.SkipReadChecksum, o.ExpectedKeys, o.Compaction, m.pageSlots, m.collide, fmt.Sprintf(format, args...))
}

func (m *meta) must(what string, err error) {
	m.t.Helper()
	if err != nil {
		m.fail("%s: %v", what, err)
	}
}

func (m *meta) open() {
	m.t.Helper()
	seams := &inject.Seams{
		FS:        m.disk,
		Now:       func() time.Time { return time.UnixMilli(m.now) },
		Random:    m.rng.Uint64,
		PageSlots: m.pageSlots,
		Manual:    true,
		OnOpen:    func(steps []inject.Step) { m.steps = steps },
		Between: func(phase string) {
			if phase == "edited" {
				m.counts.Compactions++
			}
		},
	}
	if m.collide {
		seams.Hash = func(key []byte) (uint64, uint32) {
			check := crc32.ChecksumIEEE(key)
			return uint64(check & 3), check
		}
	}
	o := m.options()
	m.opened = *o
	inject.Into(o, seams)
	var err error
	m.store, err = mmapkv.Open(storeDir, o)
	m.must("Open", err)
	if damages := m.store.Stats().Recovery.Damages; len(damages) > 0 {
		m.fail("Open reports damage: %v", damages)
	}
}

func (m *meta) run(list []metaOp) {
	m.open()
	for m.at = range list {
		m.background()
		m.do(list[m.at])
		m.check(list[m.at].write)
		m.counts.Operations++
	}
	m.checkAll()
	m.must("Close", m.store.Close())
}

// background does some of the work that goroutines would otherwise do, and calls what a program
// may call at any time.
func (m *meta) background() {
	for m.rng.IntN(m.stepOneIn) == 0 {
		step := m.steps[m.rng.IntN(len(m.steps))]
		_, err := step.Run()
		m.must(step.Name, err)
		m.counts.Steps++
		if m.rng.IntN(3) == 0 {
			break
		}
	}
	switch m.rng.IntN(30) {
	case 0:
		m.must("Sync", m.store.Sync())
	case 1:
		m.must("Compact", m.store.Compact(context.Background()))
	}
}

func (m *meta) do(op metaOp) {
	m.now += op.clock
	switch p := m.rng.IntN(10); {
	case !op.reopen:
	case p < m.killed:
		m.disk = m.disk.Kill()
		m.open()
		m.counts.Kills++
	case p < m.killed+m.closed:
		m.must("Close", m.store.Close())
		m.open()
		m.counts.Closes++
	}
	if op.write == nil {
		return
	}
	m.write(op.write)
	applied := slices.Clone(op.write)
	for i := range applied {
		if applied[i].Expiry != 0 {
			applied[i].Expiry += m.now
		}
	}
	m.content.Apply(applied)
}

// write makes the changes. For a single change it draws one of two ways.
func (m *meta) write(ops []oracle.Op) {
	if op := ops[0]; len(ops) == 1 && m.rng.IntN(2) == 0 {
		key, value := []byte(op.Key), []byte(op.Value)
		switch {
		case op.Delete:
			m.must("Delete", m.store.Delete(key))
		case op.Expiry != 0:
			m.must("PutWithTTL", m.store.PutWithTTL(key, value, time.Duration(op.Expiry)*time.Millisecond))
		default:
			m.must("Put", m.store.Put(key, value))
		}
		return
	}
	var b mmapkv.Batch
	for _, op := range ops {
		key, value := []byte(op.Key), []byte(op.Value)
		switch {
		case op.Delete:
			b.Delete(key)
		case op.Expiry != 0:
			b.PutWithTTL(key, value, time.Duration(op.Expiry)*time.Millisecond)
		default:
			b.Put(key, value)
		}
	}
	m.must("Write", m.store.Write(&b))
}

// check reads the written keys and one other, and now and then everything.
func (m *meta) check(written []oracle.Op) {
	for _, op := range written {
		m.checkKey(op.Key)
	}
	m.checkKey(metaKeys[m.rng.IntN(len(metaKeys))])
	if m.rng.IntN(8) == 0 {
		m.checkAll()
	}
}

func (m *meta) checkKey(key string) {
	m.t.Helper()
	m.counts.Answers++
	want, there := m.content[key]
	there = there && (want.Expiry == 0 || want.Expiry > m.now)
	got, err := m.store.Get([]byte(key))
	has, hasErr := m.store.Has([]byte(key))
	ttl, expires, ttlErr := m.store.TTL([]byte(key))
	if has != there || hasErr != nil {
		m.fail("Has(%.20q) = %v, %v", key, has, hasErr)
	}
	if !there {
		if !errors.Is(err, mmapkv.ErrNotFound) || !errors.Is(ttlErr, mmapkv.ErrNotFound) {
			m.fail("Get(%.20q) = %.30q, %v, TTL: %v; the key is absent", key, got, err, ttlErr)
		}
		return
	}
	if err != nil || string(got) != want.Bytes {
		m.fail("Get(%.20q) = %.30q, %d bytes, %v; want %.30q, %d bytes", key, got, len(got), err, want.Bytes, len(want.Bytes))
	}
	left := time.Duration(0)
	if want.Expiry != 0 {
		left = time.Duration(want.Expiry-m.now) * time.Millisecond
	}
	if ttlErr != nil || expires != (want.Expiry != 0) || ttl != left {
		m.fail("TTL(%.20q) = %v, %v, %v; want %v", key, ttl, expires, ttlErr, left)
	}
}

func (m *meta) checkAll() {
	m.t.Helper()
	for _, key := range metaKeys {
		m.checkKey(key)
	}
	want := m.content.Visible(m.now)
	ranged := map[string]string{}
	m.must("Range", m.store.Range(func(key, value []byte) error {
		if _, twice := ranged[string(key)]; twice {
			return fmt.Errorf("%.20q is shown twice", key)
		}
		ranged[string(key)] = string(value)
		return nil
	}))
	if !maps.Equal(ranged, want) {
		m.fail("Range shows %.300v; want %.300v", ranged, want)
	}
	var keys []string
	for key := range m.store.Keys() {
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	if !slices.Equal(keys, slices.Sorted(maps.Keys(want))) {
		m.fail("Keys yields %.300q; want the keys of %.300v", keys, want)
	}
	// Len counts expired keys until a call finds them expired.
	if n := m.store.Len(); n < len(want) || n > len(m.content) {
		m.fail("Len is %d; there are %d keys, %d with the expired ones", n, len(want), len(m.content))
	}
}
