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

// TestReadsThroughRotation checks every way to read while writers fill thousands of segments.
// Every value that a read finds was written to that key, and is whole. It is not older than
// what was acknowledged before the read began, nor than what the same reader has seen.
func TestReadsThroughRotation(t *testing.T) {
	// A rotation takes longer the more files there are, so several stores share the rotations.
	const stores, rotations = 6, 500
	var files int
	for range stores {
		files += rotate(t, rotations, mmapkv.Options{Compaction: mmapkv.Compaction{Disabled: true}})
	}
	if files < stores*rotations {
		t.Errorf("%d rotations made only %d files", stores*rotations, files)
	}
}

// TestReadsThroughRotationAndCompaction is TestReadsThroughRotation with compactions that
// remove files under the readers.
func TestReadsThroughRotationAndCompaction(t *testing.T) {
	const rotations = 1000 / sampleOneIn
	// Tiny files are mostly hints and headers; a high ratio keeps writers from waiting for
	// space.
	rotate(t, rotations, mmapkv.Options{Compaction: mmapkv.Compaction{MaxSpaceRatio: 100}})
}

// rotate writes and reads until a store has rotated often enough, a reader has read all of it,
// and compaction, if enabled, has removed half of the files. It returns the number of files
// left.
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

// rotation is a store that is written and read concurrently. Each key has one writer, which
// counts its versions.
type rotation struct {
	t          *testing.T
	store      *mmapkv.Store
	compacting bool

	// Versions of each key: the last one whose write has begun, and the last one
	// whose write has returned.
	begun, acknowledged [rotationKeys]atomic.Int64

	rotations     atomic.Int64 // as the store reported them
	reads, rounds atomic.Int64 // reads of one key, and of the whole store

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

// rotationValue returns a version of a key's value. Every piece of the value names the version.
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

// done reports whether everything has happened often enough.
func (r *rotation) done(rotations int64) bool {
	made := r.rotations.Load()
	return made >= rotations && r.rounds.Load() > 0 && (!r.compacting || 2*int64(len(r.store.Stats().Segments)) <= made)
}

// write overwrites this writer's keys until the rotation is done.
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

// readsPerTurn is the number of reads of single keys before a reader waits for a write.
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
	key, oldest := rotationKey(k), max(seen[k], r.acknowledged[k].Load())
	var err error
	switch way {
	case 0:
		var value []byte
		if value, err = r.store.Get(key); err == nil {
			seen[k], err = r.check(k, value, oldest)
		}
	case 1:
		err = r.store.View(key, func(value []byte) (err error) {
			seen[k], err = r.check(k, value, oldest)
			return err
		})
	case 2:
		const before = "before:"
		var value []byte
		if value, err = r.store.AppendGet([]byte(before), key); err == nil {
			after, kept := bytes.CutPrefix(value, []byte(before))
			if seen[k], err = r.check(k, after, oldest); !kept {
				err = errors.New("AppendGet changed what was before the value")
			}
		}
	default:
		var has bool
		if has, err = r.store.Has(key); err == nil && !has {
			err = errors.New("the key is absent")
		}
	}
	if err != nil {
		r.t.Errorf("key %d, read in way %d: %v", k, way, err)
	}
}

// check returns the version of a value, and what is wrong with it.
func (r *rotation) check(k int, value []byte, oldest int64) (version int64, err error) {
	var key int
	if _, err := fmt.Sscanf(string(value), "%d %d;", &key, &version); err != nil {
		return oldest, fmt.Errorf("%.40q is not a value: %w", value, err)
	}
	if !bytes.Equal(value, rotationValue(k, version)) {
		return oldest, fmt.Errorf("%.40q, %d bytes, was never written", value, len(value))
	}
	if newest := r.begun[k].Load(); version < oldest || version > newest {
		return oldest, fmt.Errorf("version %d is not between %d and %d", version, oldest, newest)
	}
	return version, nil
}

// readAll reads the whole store. Range may leave out a pair that is being overwritten, and may
// show an older value along with a newer one, but not a value that was old when Range began.
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
	var oldest [rotationKeys]int64
	for k := range oldest {
		oldest[k] = max(seen[k], r.acknowledged[k].Load())
	}
	err := r.store.Range(func(key, value []byte) error {
		var k int
		if _, err := fmt.Sscanf(string(key), "key %d", &k); err != nil || k >= rotationKeys {
			return fmt.Errorf("%.40q is not a key: %v", key, err)
		}
		version, err := r.check(k, value, oldest[k])
		seen[k] = max(seen[k], version)
		return err
	})
	if err != nil {
		r.t.Errorf("Range: %v", err)
	}
}

// unsynced is a disk whose syncs do nothing: this test loses no power, and thousands of new
// files would wait for the syncs.
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
