package main

import "fmt"

// engine is an open store as the workloads use it. Reads and writes may come from
// several goroutines. A key that is not there is no error.
type engine interface {
	// view calls fn with a key's value the cheapest way that the engine has, without
	// a copy where it can. The value is dead when fn has returned.
	view(key []byte, fn func(value []byte) error) (found bool, err error)
	// appendGet appends a copy of the value to dst.
	appendGet(dst, key []byte) (out []byte, found bool, err error)
	// viewMany is view for many keys that are all there, in the engine's own order.
	viewMany(keys [][]byte, fn func(value []byte) error) error
	put(key, value []byte) error
	// putMany puts all of them or none.
	putMany(keys, values [][]byte) error
	// each calls fn with all pairs, in the engine's own order.
	each(fn func(key, value []byte) error) error
	// settle rewrites what the engine has so that reads are at their fastest and
	// the files at their smallest.
	settle() error
	close() error
}

// groupWriter is an engine that wants to know how many goroutines will write
// durably, from before they begin.
type groupWriter interface {
	expectWriters(n int)
}

// class is what of an acknowledged write is left after a crash.
type class int

const (
	survivesKill      class = iota // of the process: no sync for a write
	survivesPowerLoss              // a sync for each write, or for a group of them
)

// rival is one way to open an engine.
type rival struct {
	name string
	open func(dir string, c class) (engine, error)
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
