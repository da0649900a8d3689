package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv"
)

const (
	rotationKeys    = 64
	rotationWriters = 2
	rotationReaders = 4
)

// TestReadsThroughRotation has readers check every way to read while writers
// fill thousands of segments: what a read finds was written to that key, whole,
// is not older than what was acknowledged before the read began, and never older
// than what the same reader has seen.
func TestReadsThroughRotation(t *testing.T) {
	// A change to a new file takes the longer the more files there are, so several
	// stores share the rotations.
	const stores, rotations = 6, 500
	var files int
	for range stores {
		files += rotate(t, rotations, mmapkv.Options{Compaction: mmapkv.Compaction{Disabled: true}})
	}
	if files < stores*rotations {
		t.Errorf("%d rotations have made only %d files", stores*rotations, files)
	}
}

// TestReadsThroughRotationAndCompaction is TestReadsThroughRotation with files that go
// away under the readers.
func TestReadsThroughRotationAndCompaction(t *testing.T) {
	const rotations = 1000 / sampleOneIn
	// Of tiny files most is hints and headers, for which writers need not wait.
	rotate(t, rotations, mmapkv.Options{Compaction: mmapkv.Compaction{MaxSpaceRatio: 100}})
}

// rotate writes and reads until a store has rotated so often, somebody has gone
// through the whole of it, and of the files that compaction takes half are gone. It
// returns how many files there are then.
func rotate(t *testing.T, rotations int64, o mmapkv.Options) (files int) {
	o.SegmentSize, o.Sync = 4<<10, fsync.Never
	r := newRotation(t, o)
	r.compacting = !o.Compaction.Disabled
	defer func() {
		if err := r.store.Close(); err != nil {
			t.Error(err)
		}
	}()
	var writers, readers sync.WaitGroup
	for n := range rotationWriters {
		writers.Go(func() { r.write(n, rotations) })
	}
	for n := range rotationReaders {
		readers.Go(func() { r.read(rand.New(rand.NewPCG(1, uint64(n)))) })
	}
	writers.Wait()
	close(r.turns)
	readers.Wait()
	files = len(r.store.Stats().Segments)
	t.Logf("%d rotations, %d files, %d reads of a key, %d of the whole store",
		r.rotations.Load(), files, r.reads.Load(), r.rounds.Load())
	return files
}

// rotation is a store that is written and read at once. Each key has one writer,
// who counts its versions.
type rotation struct {
	t          *testing.T
	store      *mmapkv.Store
	compacting bool

	// Versions of each key: the last one whose write has begun, and the last one
	// whose write has returned.
	begun, acknowledged [rotationKeys]atomic.Int64

	rotations     atomic.Int64 // that the store has told of
	reads, rounds atomic.Int64 // of one key, and of all

	// turns keeps the readers from taking all the processor time: each write lets
	// one of them read for a while. It is closed when the writers are done.
	turns chan struct{}
}

// newRotation opens a store that has all keys.
func newRotation(t *testing.T, o mmapkv.Options) *rotation {
	r := &rotation{t: t, turns: make(chan struct{}, 4*rotationReaders)}
	o.Events.Rotated = func(mmapkv.Rotated) { r.rotations.Add(1) }
	inject.Into(&o, &inject.Seams{FS: unsynced{vfs.OS()}, PageSlots: 8})
	var err error
	if r.store, err = mmapkv.Open(t.TempDir(), &o); err != nil {
		t.Fatal(err)
	}
	for k := range rotationKeys {
		r.put(k)
	}
	return r
}

func rotationKey(k int) []byte { return fmt.Appendf(nil, "key %02d", k) }

// rotationValue is a version of a key's value: every piece of it says which.
func rotationValue(k int, version int64) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%02d %010d;", k, version), 1+int(version*7%90))
}

func (r *rotation) put(k int) {
	version := r.begun[k].Add(1)
	if err := r.store.Put(rotationKey(k), rotationValue(k, version)); err != nil {
		r.t.Errorf("Put of version %d of key %d: %v", version, k, err)
	}
	r.acknowledged[k].Store(version)
}

// done says whether there was enough of everything.
func (r *rotation) done(rotations int64) bool {
	made := r.rotations.Load()
	return made >= rotations && r.rounds.Load() > 0 && (!r.compacting || 2*int64(len(r.store.Stats().Segments)) <= made)
}

// write overwrites the keys that are this writer's until the store has rotated
// often enough.
func (r *rotation) write(writer int, rotations int64) {
	rng := rand.New(rand.NewPCG(2, uint64(writer)))
	for !r.done(rotations) && !r.t.Failed() {
		r.put(rng.IntN(rotationKeys/rotationWriters)*rotationWriters + writer)
		select {
		case r.turns <- struct{}{}:
		default: // all readers have enough to do
		}
	}
}

// readsPerTurn is how often a reader reads a key before it waits for a write.
const readsPerTurn = 16

// read reads until the writers are done.
func (r *rotation) read(rng *rand.Rand) {
	var seen [rotationKeys]int64
	turn := 0
	for range r.turns {
		for range readsPerTurn {
			r.readOne(rng.IntN(4), rng.IntN(rotationKeys), &seen)
		}
		r.reads.Add(readsPerTurn)
		if turn++; turn%64 == 0 {
			r.readAll(&seen)
			r.rounds.Add(1)
		}
	}
}

// readOne reads a key in one of four ways.
func (r *rotation) readOne(way, k int, seen *[rotationKeys]int64) {
	key, least := rotationKey(k), max(seen[k], r.acknowledged[k].Load())
	var err error
	switch way {
	case 0:
		var value []byte
		if value, err = r.store.Get(key); err == nil {
			seen[k], err = r.check(k, value, least)
		}
	case 1:
		err = r.store.View(key, func(value []byte) (err error) {
			seen[k], err = r.check(k, value, least)
			return err
		})
	case 2:
		const before = "before:"
		var value []byte
		if value, err = r.store.AppendGet([]byte(before), key); err == nil {
			after, kept := bytes.CutPrefix(value, []byte(before))
			if seen[k], err = r.check(k, after, least); !kept {
				err = errors.New("what was there before the value is gone")
			}
		}
	default:
		var has bool
		if has, err = r.store.Has(key); err == nil && !has {
			err = errors.New("the key is not there")
		}
	}
	if err != nil {
		r.t.Errorf("key %d, read in way %d: %v", k, way, err)
	}
}

// check says which version a value is, and what is wrong with it.
func (r *rotation) check(k int, value []byte, least int64) (version int64, err error) {
	var key int
	if _, err := fmt.Sscanf(string(value), "%d %d;", &key, &version); err != nil {
		return least, fmt.Errorf("%.40q is no value: %w", value, err)
	}
	if !bytes.Equal(value, rotationValue(k, version)) {
		return least, fmt.Errorf("%.40q, %d bytes, was never written", value, len(value))
	}
	if most := r.begun[k].Load(); version < least || version > most {
		return least, fmt.Errorf("version %d is not between %d and %d", version, least, most)
	}
	return version, nil
}

// readAll goes through the whole store. Range may leave out a pair that is
// overwritten, and show an older value beside a newer one, but none that was old
// when it began.
func (r *rotation) readAll(seen *[rotationKeys]int64) {
	found := map[string]int{}
	for key := range r.store.Keys() {
		found[string(key)]++
	}
	for k := range rotationKeys {
		if n := found[string(rotationKey(k))]; n != 1 || len(found) != rotationKeys {
			r.t.Errorf("Keys yields key %d %d times, and %d keys in all", k, n, len(found))
		}
	}
	var least [rotationKeys]int64
	for k := range least {
		least[k] = max(seen[k], r.acknowledged[k].Load())
	}
	err := r.store.Range(func(key, value []byte) error {
		var k int
		if _, err := fmt.Sscanf(string(key), "key %d", &k); err != nil || k >= rotationKeys {
			return fmt.Errorf("%.40q is no key: %v", key, err)
		}
		version, err := r.check(k, value, least[k])
		seen[k] = max(seen[k], version)
		return err
	})
	if err != nil {
		r.t.Errorf("Range: %v", err)
	}
}

// unsynced is a disk whose syncs do nothing: no power is lost here, and thousands
// of new files would wait for them.
type unsynced struct{ vfs.FS }

func (u unsynced) OpenDir(path string) (vfs.Dir, error) {
	dir, err := u.FS.OpenDir(path)
	return unsyncedDir{dir}, err
}

type unsyncedDir struct{ vfs.Dir }

func (unsyncedDir) Sync() error { return nil }

func (d unsyncedDir) Create(name string) (vfs.File, error) {
	f, err := d.Dir.Create(name)
	return unsyncedFile{f}, err
}

func (d unsyncedDir) Open(name string) (vfs.File, error) {
	f, err := d.Dir.Open(name)
	return unsyncedFile{f}, err
}

type unsyncedFile struct{ vfs.File }

func (unsyncedFile) Datasync() error { return nil }
