package main

import (
	"context"
	"fmt"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// groupWriter is a workload.Store that is told, before durable writes begin, how many
// goroutines will write.
type groupWriter interface {
	expectWriters(n int)
}

// rival is an engine. It opens a store in an existing directory, so that a write
// survives the process (workload.Kill, without a sync) or a power loss.
type rival struct {
	name string
	open func(dir string, survives workload.Class) (workload.Store, error)
	// inMemory says that it has no files: it is neither opened again nor compared
	// where something has to survive.
	inMemory bool
	// tailMayBeLost says that, by its documentation, it may lose the last writes with
	// the process if they are not synced.
	tailMayBeLost bool
}

// rivals are all engines; the others are compared with the first.
var rivals = []rival{
	{name: "mmapkv", open: openMmapkv(0)},
	{name: "bbolt", open: openBbolt},
	{name: "badger", open: openBadger},
	{name: "pebble", open: openPebble, tailMayBeLost: true},
	{name: "goleveldb", open: openGoleveldb},
	{name: "buntdb", open: openBuntdb},
	{name: "map", open: openMap, inMemory: true},
}

func rivalNamed(name string) (rival, error) {
	for _, r := range rivals {
		if r.name == name {
			return r, nil
		}
	}
	return rival{}, fmt.Errorf("there is no engine %q", name)
}

// withSegments returns the rival with segments of this size, if it is mmapkv.
func (r rival) withSegments(size int64) rival {
	if r.name == "mmapkv" {
		r.open = openMmapkv(size)
	}
	return r
}

// blockCache is the size of the block cache of engines that have one: enough for all
// data of the default size. It is the default of pebble's own benchmark command
// (cmd/pebble/main.go, -cache).
const blockCache = 1 << 30

// memtable is the size of the memtables of engines that have them: the size in
// pebble's own benchmark command (cmd/pebble/db.go), and badger's default.
const memtable = 64 << 20

// bitsPerKey is the size of the Bloom filters: the examples in pebble's and
// goleveldb's documentation both have 10.
const bitsPerKey = 10

// getMany calls fn with the value of each key, in any order. All keys must be present.
func getMany(store workload.Store, keys [][]byte, fn func(value []byte) error) error {
	if many, ok := store.(workload.ManyReader); ok {
		return many.GetMany(keys, func(_ int, value []byte, err error) error {
			if err != nil {
				return err
			}
			return fn(value)
		})
	}
	for _, key := range keys {
		if err := store.View(key, fn); err != nil {
			return err
		}
	}
	return nil
}

// compact tells an engine that can to rewrite its data, so that reads are fastest and
// files smallest.
func compact(store workload.Store) error {
	if c, ok := store.(workload.Compactor); ok {
		return c.Compact(context.Background())
	}
	return nil
}
