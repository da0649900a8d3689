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
	// Name is short and unique in a run: "pebble NoSync".
	Name string
	// Survives is what an acknowledged write survives. The time of writes is compared
	// only within a class.
	Survives Class
	// Settings is a line about its configuration, for the report.
	Settings string
	// Open opens the store in a directory, which exists and may be empty.
	Open func(dir string) (Store, error)
	// OpenQuiet opens the store so that it reclaims garbage only in Compactor.Compact;
	// nil if it cannot.
	OpenQuiet func(dir string) (Store, error)
}

// Class is what acknowledged writes survive.
type Class int

const (
	Nothing Class = iota // writes are lost with the process
	Kill                 // writes survive SIGKILL
	PowerLoss
)

func (c Class) String() string {
	return [...]string{"survives nothing", "survives SIGKILL", "survives power loss"}[c]
}

// Store is an open store. Many goroutines may call its methods at once, except Close.
type Store interface {
	// Put sets the key's value. The caller may reuse both when it returns.
	Put(key, value []byte) error
	// Write puts all pairs or none.
	Write(pairs []Pair) error
	// Get appends the key's value to dst; ErrNotFound if it has none.
	Get(dst, key []byte) ([]byte, error)
	// View calls fn with the key's value, read in the cheapest way, which is valid
	// until fn returns; ErrNotFound if the key has none.
	View(key []byte, fn func(value []byte) error) error
	// Has reports whether the key has a value.
	Has(key []byte) (bool, error)
	// Keys calls fn with every key, in any order. The key is valid until fn returns.
	Keys(fn func(key []byte) error) error
	// Range calls fn with every pair, in any order. Both are valid until fn returns.
	Range(fn func(key, value []byte) error) error
	// Sync makes everything written so far survive a power loss.
	Sync() error
	Close() error
}

// Pair is a key and its value.
type Pair struct{ Key, Value []byte }

// Some stores also implement the interfaces below. Workloads that need one skip
// stores without it.

// ManyReader is a Store that looks up many keys at once.
type ManyReader interface {
	// GetMany calls fn once for each key, in any order, with a value that is valid
	// until fn returns.
	GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error
}

// Compactor is a Store that frees the space of garbage on request.
type Compactor interface {
	Compact(ctx context.Context) error
}

// Stalling is a Store that knows the total time that writers have waited for it to
// free space or to catch up.
type Stalling interface {
	WriteStall() time.Duration
}

// Indexed is a Store that knows how many bytes of memory its index takes.
type Indexed interface {
	IndexBytes() int64
}
