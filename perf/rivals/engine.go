package main

import (
	"context"
	"fmt"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// groupWriter is a workload.Store that wants to know how many goroutines will write
// durably, from before they begin.
type groupWriter interface {
	expectWriters(n int)
}

// rival is an engine, and how it is opened in a directory that exists: so that a
// write outlives the process (workload.Kill, no sync for it), or the machine.
type rival struct {
	name string
	open func(dir string, survives workload.Class) (workload.Store, error)
	// inMemory has no files: it is neither opened again nor compared where
	// something has to survive.
	inMemory bool
	// tailMayBeLost is documented to lose the last writes with the process where
	// each is not synced.
	tailMayBeLost bool
}

// rivals are all there are; the first one is what the others are compared with.
var rivals = []rival{
	{name: "mmapkv", open: openMmapkv},
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

// blockCache is the room for blocks of the engines that have a cache of their own:
// enough for all data of the default size. It is what pebble's own benchmark command
// takes by default (cmd/pebble/main.go, -cache).
const blockCache = 1 << 30

// memtable is the size of the tables in memory of the engines that have such: what
// pebble's own benchmark command takes (cmd/pebble/db.go), and badger's default.
const memtable = 64 << 20

// bitsPerKey of the Bloom filters: pebble's and goleveldb's documentation both
// have 10 in their examples.
const bitsPerKey = 10

// getMany calls fn with the value of each key, in any order, all of which are there.
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

// compact has an engine that can rewrite what it has so that reads are at their
// fastest and the files at their smallest.
func compact(store workload.Store) error {
	if c, ok := store.(workload.Compactor); ok {
		return c.Compact(context.Background())
	}
	return nil
}
