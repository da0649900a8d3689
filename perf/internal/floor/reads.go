// Package floor is the least that can be done for the same effect, without what
// makes a store of it: nothing here looks for damage, survives anything, or lets
// anybody read what was written. What a store takes is set beside these, in the same
// minute on the same machine, because a figure alone says more about the machine.
//
// Floors are workload.Stores, so that the same loops call them and what these do for
// themselves is in both.
package floor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
	"github.com/mmapkv/mmapkv/perf/workload"
	"github.com/mmapkv/mmapkv/segment"
)

// Name is what floors are called in results.
const Name = "floor"

// Reads opens the files of a mmapkv store in a directory, which nobody writes, and
// reads by a probe of a KeyDir and a touch of each cache line of the mapped record.
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
	}, func(segment.Damage) {}) // the room ahead of the log
}

// Where a record's header has the sizes and flags, see segment/doc.go.
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
	record := r.segments[location.Slot()].Memory()[location.Offset():]
	if size, known := location.Size(); known {
		record = record[:size]
	}
	touch(record)
	keySize := binary.LittleEndian.Uint16(record[keySizeAt:])
	at := segment.LongLayout(int(keySize), segment.Flags(binary.LittleEndian.Uint16(record[flagsAt:])))
	return record[at:][:binary.LittleEndian.Uint32(record[valueSizeAt:])], true
}

// touch is a call, so that nothing of it can be left out.
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

// nothing is a Store that cannot do anything.
type nothing struct{}

var errNothing = errors.New("floor: this floor does not do that")

func (nothing) Put([]byte, []byte) error                  { return errNothing }
func (nothing) Write([]workload.Pair) error               { return errNothing }
func (nothing) Get(dst, _ []byte) ([]byte, error)         { return dst, errNothing }
func (nothing) View([]byte, func([]byte) error) error     { return errNothing }
func (nothing) Has([]byte) (bool, error)                  { return false, errNothing }
func (nothing) Keys(func([]byte) error) error             { return errNothing }
func (nothing) Range(func(key, value []byte) error) error { return errNothing }
func (nothing) Sync() error                               { return errNothing }
func (nothing) Close() error                              { return nil }
