// Package floor is the least work with the same effect as a store's, without what
// makes it a store: nothing here checks for damage, survives anything, or can read
// back what was written. A store is compared with its floor in the same minute on the
// same machine, because a figure alone says more about the machine.
//
// Floors are workload.Stores, so that the same loops call both, and both figures
// include the cost of the loop.
package floor

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
	"github.com/mmapkv/mmapkv/perf/workload"
	"github.com/mmapkv/mmapkv/segment"
)

// Name is the name of floors in results.
const Name = "floor"

// Reads opens the files of a mmapkv store in a directory while nobody writes to them,
// and reads by a probe of a KeyDir and a touch of each cache line of the mapped record.
func Reads() workload.Engine {
	return workload.Engine{
		Name:     Name,
		Settings: "a probe of the KeyDir, and a touch of each cache line of the mapped record",
		Open:     func(dir string) (workload.Store, error) { return openReads(dir) },
	}
}

type reads struct {
	nothing
	hasher   index.Hasher
	keys     *index.KeyDir
	segments []*segment.Segment
}

func openReads(dir string) (*reads, error) {
	r := &reads{hasher: index.NewHasher(), keys: index.New(index.Options{})}
	d, err := vfs.OS().OpenDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names { // in the order of their ids
		if _, kind, ok := segment.ParseFileName(name); !ok || kind != segment.SegmentFile {
			continue
		}
		path := filepath.Join(dir, name)
		if err := r.add(d, name, path); err != nil {
			return nil, fmt.Errorf("floor: %s: %w", path, err)
		}
	}
	return r, nil
}

// add maps a file and finds its records.
func (r *reads) add(d vfs.Dir, name, path string) error {
	written, end, err := rig.OpenWritten(path)
	if err != nil {
		return err
	}
	defer written.Close()
	f, err := d.OpenReadOnly(name)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	h, err := segment.ReadHeader(f, size)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s, err := segment.OpenSegment(f, h, size)
	if err != nil {
		return err
	}
	slot := uint32(len(r.segments))
	r.segments = append(r.segments, s)
	return segment.Scan(written, h.Salt, h.Size(), end, func(e segment.Entry) {
		r.keys.Put(r.hasher.Fingerprint(e.Key), index.MakeLocation(slot, e.Offset, e.Size))
	}, func(segment.Damage) {}) // the preallocated space after the log
}

// Offsets of the sizes and flags in a record's header, see segment/doc.go.
const (
	valueSizeAt = 16
	keySizeAt   = 20
	flagsAt     = 22

	cacheLine = 64
)

// value finds a value and touches its record.
func (r *reads) value(key []byte) ([]byte, bool) {
	candidates := r.keys.Find(r.hasher.Hash(key))
	location, found := candidates.Next()
	if !found {
		return nil, false
	}
	record := r.record(location)
	touch(record)
	_, value := pairOf(record)
	return value, true
}

// touch is not inlined, so that the compiler cannot remove its loads.
//
//go:noinline
func touch(record []byte) (touched byte) {
	for at := 0; at < len(record); at += cacheLine {
		touched ^= record[at]
	}
	return touched
}

func (r *reads) View(key []byte, fn func(value []byte) error) error {
	value, found := r.value(key)
	if !found {
		return workload.ErrNotFound
	}
	return fn(value)
}

func (r *reads) Get(dst, key []byte) ([]byte, error) {
	value, found := r.value(key)
	if !found {
		return dst, workload.ErrNotFound
	}
	return append(dst, value...), nil
}

// Has only probes.
func (r *reads) Has(key []byte) (bool, error) {
	candidates := r.keys.Find(r.hasher.Hash(key))
	_, found := candidates.Next()
	return found, nil
}

// nothing is a Store without any operation.
type nothing struct{}

var errNothing = errors.New("floor: not an operation of this floor")

func (nothing) Put([]byte, []byte) error                  { return errNothing }
func (nothing) Write([]workload.Pair) error               { return errNothing }
func (nothing) Get(dst, _ []byte) ([]byte, error)         { return dst, errNothing }
func (nothing) View([]byte, func([]byte) error) error     { return errNothing }
func (nothing) Has([]byte) (bool, error)                  { return false, errNothing }
func (nothing) Keys(func([]byte) error) error             { return errNothing }
func (nothing) Range(func(key, value []byte) error) error { return errNothing }
func (nothing) Sync() error                               { return errNothing }
func (nothing) Close() error                              { return nil }
