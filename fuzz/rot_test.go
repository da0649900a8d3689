package fuzz

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

var (
	rotMutations = flag.Int("rot.mutations", 2000, "how often TestDamageIsLocalAndReported damages each of its stores")
	rotSeed      = flag.Uint64("rot.seed", 0, "the seed of TestDamageIsLocalAndReported; 0 draws one")
	rotOnly      = flag.Int("rot.only", -1, "the number of the only damage that TestDamageIsLocalAndReported inflicts; negative: all")
)

// TestDamageIsLocalAndReported damages the files of a store in many ways, opens it, reads
// everything, and now and then compacts it and opens it again.
//
// Open may refuse only if the manifest or the header of a segment is damaged. Otherwise a key
// whose newest record is untouched has its value. A key whose newest record was damaged has its
// value, or a read says that it is damaged. If even the key is lost, Open has reported the
// file, and the key may have an older value or none. No key ever has a value that it was not
// given. Damage anywhere else does not matter: in hints, in the spare bytes of files, in the
// lock.
func TestDamageIsLocalAndReported(t *testing.T) {
	seed := *rotSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	for _, s := range []struct {
		name   string
		policy fsync.Policy
		closed bool
	}{
		{"closed", fsync.Never, true},
		{"killed", fsync.Always, false},
		{"killed and never synced", fsync.Never, false},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Logf("seed %d; to replay: go test ./fuzz -run '%s' -rot.seed=%d -rot.mutations=%d", seed, t.Name(), seed, *rotMutations)
			r := newRotten(t, s.policy, s.closed, seed)
			for n := range *rotMutations / sampleOneIn {
				if *rotOnly < 0 || n == *rotOnly {
					r.damage(n)
				}
			}
			t.Logf("%d files, %d keys: Open refused %d times, everything was read %d times, %d keys damaged, %d lost or old and reported, %d lost or old and not known to be synced, %d times the order was lost; at most %d bytes allocated, %d without damage",
				len(r.names), len(r.keys), r.refused, r.intact, r.damaged, r.reported, r.unknown, r.ended, r.allocated, r.needed)
			enough := *rotOnly < 0 && *rotMutations/sampleOneIn >= 2000 // for each of these to happen
			if enough && (r.refused == 0 || r.intact == 0 || r.damaged == 0 || r.reported+r.unknown == 0) {
				t.Error("one of these never happened")
			}
		})
	}
}

// rotten is a store to damage, and what is known about it.
type rotten struct {
	t      *testing.T
	seed   uint64
	policy fsync.Policy
	now    int64

	disk  *crashfs.Disk
	names []string // of all files
	files map[string][]byte

	keys     []string
	want     map[string]string          // what the store holds
	written  map[string]map[string]bool // every value that a key ever had
	headers  map[string]int64           // of the segments: sizes
	newest   map[string]placedRecord    // the newest record of each key
	unsealed []placedRecord             // records of files whose end the manifest does not know, in order
	synced   uint64                     // the manifest's watermark

	needed                                      uint64 // bytes allocated to open and read the intact store
	refused, intact, damaged, reported, unknown int
	allocated                                   uint64 // maximum
	ended                                       int    // stores whose order is lost from some key on
}

// placedRecord is a record in a file.
type placedRecord struct {
	file         string
	offset, size int64
	seq          uint64
	goesOn       bool // the next record belongs to the same batch
	watermark    uint64
	unsealed     bool
}

// newRotten creates a store with several versions of its keys in several files: complete ones,
// merged ones, one of a long value, and, unless the store is closed, unsealed ones.
func newRotten(t *testing.T, policy fsync.Policy, closed bool, seed uint64) *rotten {
	l := newLife(t, &census{}, policy, rand.New(rand.NewPCG(seed, 1)))
	var err error
	if l.store, err = l.open(l.disk); err != nil {
		l.fail("open: %v", err)
	}
	r := &rotten{t: t, seed: seed, policy: policy, want: map[string]string{}, written: map[string]map[string]bool{},
		files: map[string][]byte{}, headers: map[string]int64{}, newest: map[string]placedRecord{}}
	for i := range 150 {
		var ops []oracle.Op
		for range 1 + max(0, l.rng.IntN(8)-5) {
			ops = append(ops, r.op(l, i))
		}
		l.write(ops, l.writeBatch)
		if i == 80 {
			if err := l.store.Compact(context.Background()); err != nil {
				l.fail("Compact: %v", err)
			}
		}
	}
	l.now += 1000
	r.now, r.want = l.now, l.oracle.Current().Visible(l.now)
	if closed {
		if err := l.store.Close(); err != nil {
			l.fail("Close: %v", err)
		}
	}
	r.keep(l.disk)
	r.locate()
	r.keys = slices.Sorted(maps.Keys(r.written))
	r.needed = r.allocations(func() {
		if _, shown := r.life(r.disk.Clone(), " without damage").reopened(); !maps.Equal(shown, r.want) {
			t.Fatalf("without damage it shows %v, want %v", shown, r.want)
		}
	})
	return r
}

// op draws the i-th write.
func (r *rotten) op(l *life, i int) oracle.Op {
	op := oracle.Op{Key: fmt.Sprint("key", l.rng.IntN(25))}
	size := l.rng.IntN(120)
	switch p := l.rng.IntN(16); {
	case p < 2:
		op.Delete = true
		return op
	case p < 4:
		op.Expiry = l.now + 500
	case p < 5:
		op.Expiry = l.now + 1_000_000
	case i%60 == 50:
		size = 5000 // has a file of its own
	}
	op.Value = strings.Repeat(string(rune('a'+i%26)), size) + fmt.Sprint(i)
	if r.written[op.Key] == nil {
		r.written[op.Key] = map[string]bool{}
	}
	r.written[op.Key][op.Value] = true
	return op
}

// keep copies the files of a disk to one without pending changes.
func (r *rotten) keep(disk *crashfs.Disk) {
	r.names = disk.Files()
	r.disk = crashfs.New()
	if err := r.disk.Mkdir(storeDir); err != nil {
		r.t.Fatal(err)
	}
	for _, name := range r.names {
		r.files[name] = disk.Bytes(name)
		if err := r.disk.SetBytes(name, r.files[name]); err != nil {
			r.t.Fatal(err)
		}
	}
}

// locate finds the newest record of each key.
func (r *rotten) locate() {
	manifest, err := segment.ParseManifest(r.files[path.Join(storeDir, segment.ManifestName)])
	if err != nil {
		r.t.Fatal(err)
	}
	r.synced = manifest.Watermark
	for _, info := range manifest.Segments {
		name := path.Join(storeDir, segment.FileName(info.ID))
		content := r.files[name]
		header, err := segment.ReadHeader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			r.t.Fatal(err)
		}
		r.headers[name] = header.Size()
		unsealed := !info.Sealed && !manifest.Clean
		walker := segment.NewWalker(bytes.NewReader(content), info.Salt, header.Size(), int64(len(content)))
		for {
			at := walker.Offset()
			var record segment.Record
			if walker.Next(&record) != nil {
				break
			}
			p := placedRecord{file: name, offset: at, size: record.Size, seq: record.Seq, watermark: record.Watermark, unsealed: unsealed,
				goesOn: record.Flags&segment.BatchGoesOn != 0}
			if unsealed {
				r.unsealed = append(r.unsealed, p)
			}
			if key := string(record.Key); p.seq >= r.newest[key].seq {
				r.newest[key] = p
			}
		}
	}
}

// batchEnd returns the sequence number of the last record of an unsealed record's batch.
func (r *rotten) batchEnd(p placedRecord) uint64 {
	for _, other := range r.unsealed {
		if other.seq >= p.seq && !other.goesOn {
			return other.seq
		}
	}
	return p.seq
}

func (r *rotten) life(disk *crashfs.Disk, ended string) *life {
	return &life{t: r.t, name: fmt.Sprintf("seed %d", r.seed), ended: ended, census: &census{}, policy: r.policy,
		rng: rand.New(rand.NewPCG(r.seed, 2)), disk: disk, now: r.now}
}

// allocations returns how many bytes the process allocates while do runs.
func (r *rotten) allocations(do func()) uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	do()
	metrics.Read(sample)
	return sample[0].Value.Uint64() - before
}

// maxAllocated is how many bytes may be allocated to open and read a damaged store: more than
// for an intact one, since some things are read twice.
func (r *rotten) maxAllocated() uint64 { return 2*r.needed + 4<<20 }

// damage inflicts the n-th damage, and checks the outcome.
func (r *rotten) damage(n int) {
	rng := rand.New(rand.NewPCG(r.seed, uint64(n)))
	m := &mutation{rng: rng, names: r.names, files: maps.Clone(r.files)}
	for again := true; again; again = rng.IntN(4) == 0 {
		m.mutate()
	}
	disk := r.disk.Clone()
	for _, name := range r.names {
		if bytes.Equal(m.files[name], r.files[name]) {
			continue
		}
		if err := disk.SetBytes(name, m.files[name]); err != nil {
			r.t.Fatal(err)
		}
	}
	l := r.life(disk, fmt.Sprintf(", -rot.only=%d:%s", n, m.done))
	defer func() {
		if recovered := recover(); recovered != nil {
			l.fail("panic: %v\n%s", recovered, debug.Stack())
		}
	}()
	allocated := r.allocations(func() { r.live(l, m, rng.IntN(4) == 0) })
	r.allocated = max(r.allocated, allocated)
	if allocated > r.maxAllocated() {
		l.fail("%d bytes were allocated", allocated)
	}
}

// live opens the damaged store and reads it. If compacted is set, it compacts the store, and
// reads and opens it again.
func (r *rotten) live(l *life, m *mutation, compacted bool) {
	store, err := l.open(l.disk)
	if err != nil {
		if !errors.Is(err, mmapkv.ErrCorrupt) && !errors.Is(err, mmapkv.ErrVersion) || !r.mayRefuse(m) {
			l.fail("open: %v", err)
		}
		r.refused++
		return
	}
	shown := r.judge(l, m, store)
	if maps.Equal(shown, r.want) {
		r.intact++
	}
	if !compacted {
		return
	}
	if err := store.Compact(context.Background()); err != nil && !errors.Is(err, mmapkv.ErrCorrupt) {
		l.fail("Compact: %v", err)
	}
	if after := r.read(l, store); !maps.Equal(shown, after) {
		l.fail("before compaction it shows %v, then %v", shown, after)
	}
	if err := store.Close(); err != nil {
		l.fail("Close: %v", err)
	}
	if store, err = l.open(l.disk); err != nil {
		l.fail("open again: %v", err)
	}
	if again := r.read(l, store); !maps.Equal(shown, again) {
		l.fail("first it shows %v, when opened again %v", shown, again)
	}
}

// touched reports whether the newest record of a key has changed.
func (r *rotten) touched(m *mutation, key string) bool {
	p, recorded := r.newest[key]
	return recorded && r.changed(m, p.file, p.offset, p.size)
}

// mayRefuse reports whether something that Open needs is damaged.
func (r *rotten) mayRefuse(m *mutation) bool {
	if name := path.Join(storeDir, segment.ManifestName); !bytes.Equal(r.files[name], m.files[name]) {
		return true
	}
	for name, size := range r.headers {
		if r.changed(m, name, 0, size) {
			return true
		}
	}
	return false
}

// changed reports whether a piece of a file has changed.
func (r *rotten) changed(m *mutation, name string, offset, size int64) bool {
	now := m.files[name]
	return offset+size > int64(len(now)) || !bytes.Equal(r.files[name][offset:][:size], now[offset:][:size])
}

// unreadable stands for a value that cannot be read. No key has this value.
const unreadable = "(damaged)"

// read returns the value of each key, or unreadable.
func (r *rotten) read(l *life, store *mmapkv.Store) map[string]string {
	shown := map[string]string{}
	for _, key := range r.keys {
		value, err := store.Get([]byte(key))
		has, hasErr := store.Has([]byte(key))
		switch {
		case err == nil:
			shown[key] = string(value)
		case errors.Is(err, mmapkv.ErrCorrupt):
			shown[key] = unreadable
		case !errors.Is(err, mmapkv.ErrNotFound):
			l.fail("Get(%s): %v", key, err)
		}
		if hasErr != nil && !errors.Is(err, mmapkv.ErrCorrupt) || hasErr == nil && has != (shown[key] != "") {
			l.fail("Get(%s): %v; Has: %v, %v", key, err, has, hasErr)
		}
	}
	r.readAll(l, store, shown)
	return shown
}

// readAll compares the values with what Range and Keys show.
func (r *rotten) readAll(l *life, store *mmapkv.Store, shown map[string]string) {
	ranged := map[string]string{}
	err := store.Range(func(key, value []byte) error {
		ranged[string(key)] = string(value)
		return nil
	})
	if err != nil && !errors.Is(err, mmapkv.ErrCorrupt) {
		l.fail("Range: %v", err)
	}
	listed := map[string]bool{}
	for key := range store.Keys() {
		listed[string(key)] = true
	}
	for key, value := range shown {
		switch got, there := ranged[key]; {
		case value == unreadable && (err == nil || there):
			l.fail("%s is damaged, but Range shows %.30q, %v", key, got, err)
		case value != unreadable && (err == nil && !there || there && got != value || !listed[key]):
			l.fail("Range has %s %v, %.30q, %v, and Keys %v; Get has %.30q", key, there, got, err, listed[key], value)
		}
		delete(ranged, key)
		delete(listed, key)
	}
	if len(ranged)+len(listed) > 0 {
		l.fail("Range shows absent keys %v, and Keys %v", ranged, listed)
	}
	r.scanAround(l, store, shown)
}

// judge reads everything, and checks that nothing is wrong beyond what the damage explains.
func (r *rotten) judge(l *life, m *mutation, store *mmapkv.Store) map[string]string {
	reported := map[string]bool{}
	for _, d := range store.Stats().Recovery.Damages {
		reported[path.Join(storeDir, d.File)] = true
	}
	shown := r.read(l, store)
	for _, key := range r.keys {
		got, there := shown[key]
		if want, live := r.want[key]; got == want && there == live {
			continue
		}
		p, touched := r.newest[key], r.touched(m, key)
		switch {
		case got == unreadable && touched:
			r.damaged++
			continue
		case there && got != unreadable && !r.written[key][got]:
			l.fail("%s is %.30q, which nobody wrote", key, got)
		case touched && reported[p.file]:
			r.reported++
		case r.forgotten(m, p):
			r.unknown++
		default:
			l.fail("%s is %.30q, present %v, want %.30q; its newest record is %+v, touched %v; Open reported %v",
				key, got, there, r.want[key], p, touched, store.Stats().Recovery.Damages)
		}
	}
	return shown
}

// forgotten reports whether a record may be lost, with everything after it, like a torn end:
// the log is damaged up to it, or in the rest of its batch, and nothing is left that says that
// it was synced.
func (r *rotten) forgotten(m *mutation, p placedRecord) bool {
	if !p.unsealed || r.synced >= p.seq {
		return false
	}
	damaged, end := false, r.batchEnd(p)
	for _, other := range r.unsealed {
		changed := r.changed(m, other.file, other.offset, other.size)
		if !changed && other.watermark >= p.seq {
			return false
		}
		damaged = damaged || changed && other.seq <= end
	}
	return damaged
}

// mutation damages files.
type mutation struct {
	rng   *rand.Rand
	names []string
	files map[string][]byte // content is replaced, never changed in place
	done  string            // what was done, in words
}

// sector is the number of bytes that a disk writes at once.
const sector = 512

// mutate inflicts one kind of damage on one or two files.
func (m *mutation) mutate() {
	name, other := m.file(), m.file()
	content := bytes.Clone(m.files[name])
	from, to := m.piece(len(content))
	what := ""
	switch kind := m.rng.IntN(12); {
	case len(content) == 0 || kind == 0:
		content = append(content, m.noise(1+m.rng.IntN(8*sector))...)
		what = fmt.Sprintf("has grown to %d bytes", len(content))
	case kind <= 3:
		bit := m.rng.IntN(8)
		content[from] ^= 1 << bit
		what = fmt.Sprintf("bit %d of byte %d flipped", bit, from)
	case kind == 4:
		content = content[:from]
		what = fmt.Sprintf("cut to %d bytes", from)
	case kind == 5:
		clear(content[from:to])
		what = fmt.Sprintf("zeros from %d to %d", from, to)
	case kind == 6:
		copy(content[from:to], m.noise(to-from))
		what = fmt.Sprintf("noise from %d to %d", from, to)
	case kind == 7:
		at := m.place(len(content))
		n := copy(content[at:], bytes.Clone(content[from:to]))
		what = fmt.Sprintf("%d bytes at %d copied to %d", n, from, at)
	case kind == 8:
		content = slices.Concat(content[:to], content[from:])
		what = fmt.Sprintf("bytes %d to %d doubled", from, to)
	case kind == 9:
		content = slices.Delete(content, from, to)
		what = fmt.Sprintf("bytes %d to %d removed", from, to)
	case kind == 10:
		theirs := bytes.Clone(m.files[other])
		if other == name {
			theirs = content
		}
		n := max(0, min(len(theirs), to)-from)
		at := m.place(len(theirs) - n)
		mine := bytes.Clone(content[from:][:n])
		copy(content[from:][:n], theirs[at:])
		copy(theirs[at:], mine)
		m.files[other] = theirs
		what = fmt.Sprintf("%d bytes at %d exchanged with those at %d of %s", n, from, at, path.Base(other))
	default:
		m.files[other], content = content, m.files[other]
		what = "exchanged with " + path.Base(other)
	}
	m.files[name] = content
	m.done += fmt.Sprintf(" %s: %s;", path.Base(name), what)
}

// file draws a file, preferring segments.
func (m *mutation) file() string {
	name := m.names[m.rng.IntN(len(m.names))]
	if _, kind, _ := segment.ParseFileName(path.Base(name)); kind != segment.SegmentFile && m.rng.IntN(2) == 0 {
		return m.file()
	}
	return name
}

// piece draws a range of a few bytes or a few sectors.
func (m *mutation) piece(size int) (from, to int) {
	if size == 0 {
		return 0, 0
	}
	from = m.place(size)
	if m.rng.IntN(2) == 0 {
		return from, min(size, from+1+m.rng.IntN(64))
	}
	from -= from % sector
	return from, min(size, from+sector*(1+m.rng.IntN(4)))
}

// place draws an offset in a file, preferring those near its start.
func (m *mutation) place(size int) int {
	if m.rng.IntN(6) == 0 {
		size = min(size, 128)
	}
	return m.rng.IntN(max(size, 1))
}

// noise returns random bytes, or bytes that are all the same.
func (m *mutation) noise(n int) []byte {
	noise := bytes.Repeat([]byte{byte(cmp.Or(m.rng.IntN(3)*0x7f, 0xff))}, n)
	if m.rng.IntN(2) == 0 {
		for i := range noise {
			noise[i] = byte(m.rng.Uint32())
		}
	}
	return noise
}
