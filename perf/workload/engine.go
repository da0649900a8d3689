package workload

import (
	"context"
	"errors"
	"time"
)

// ErrNotFound is, or is wrapped by, what a Store returns for a key without a value.
var ErrNotFound = errors.New("workload: key not found")

// Engine is a kind of store in one configuration.
type Engine struct {
	// Name is short and tells it from the others of a run: "pebble NoSync".
	Name string
	// Survives is what an acknowledged write outlives. Only engines of one class are
	// compared by what their writes take.
	Survives Class
	// Settings says in a line how it is configured, for the report.
	Settings string
	// Open opens the store in a directory, which exists and may be empty.
	Open func(dir string) (Store, error)
	// OpenQuiet opens one that reclaims garbage only when it is told to (Compactor);
	// nil where there is no such way.
	OpenQuiet func(dir string) (Store, error)
}

// Class is what acknowledged writes outlive.
type Class int

const (
	Nothing Class = iota // they are gone with the process
	Kill                 // they are there after SIGKILL
	PowerLoss
)

func (c Class) String() string {
	return [...]string{"survives nothing", "survives SIGKILL", "survives power loss"}[c]
}

// Store is an open store. All its methods, Close apart, may be called by many
// goroutines at once.
type Store interface {
	// Put gives the key a value. Both belong to the caller again when it returns.
	Put(key, value []byte) error
	// Write puts all pairs, or none.
	Write(pairs []Pair) error
	// Get appends the key's value to dst; ErrNotFound when it has none.
	Get(dst, key []byte) ([]byte, error)
	// View calls fn with the key's value, in the cheapest way in which it can be read
	// until fn returns; ErrNotFound when it has none.
	View(key []byte, fn func(value []byte) error) error
	// Has says whether the key has a value.
	Has(key []byte) (bool, error)
	// Keys calls fn with every key, in any order. The key dies when fn returns.
	Keys(fn func(key []byte) error) error
	// Range calls fn with every pair, in any order. Both die when fn returns.
	Range(fn func(key, value []byte) error) error
	// Sync makes all that was written outlive a power loss.
	Sync() error
	Close() error
}

// Pair is a key and its value.
type Pair struct{ Key, Value []byte }

// What follows is what some stores have besides. Workloads that need it leave out
// those that have not.

// ManyReader is a Store that looks up many keys at once.
type ManyReader interface {
	// GetMany calls fn once for each key, in any order, with a value that dies when
	// fn returns.
	GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error
}

// Compactor is a Store that gives back the room of garbage when it is told to.
type Compactor interface {
	Compact(ctx context.Context) error
}

// Stalling is a Store that knows how long writers have waited for it to make room or
// to catch up, all together.
type Stalling interface {
	WriteStall() time.Duration
}

// Indexed is a Store that knows what its index takes of the memory, in bytes.
type Indexed interface {
	IndexBytes() int64
}
