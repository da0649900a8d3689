package workload

import (
	"bytes"
	"context"
)

// Ordered is a Store that visits its keys in the order of their bytes.
type Ordered interface {
	// Scan calls fn with the pairs of a span in the cheapest way. It sees what was
	// written before the call. Both slices are valid until fn returns.
	Scan(s Span, fn func(key, value []byte) error) error
	// Cursor returns a cursor over what was written before the call.
	Cursor() (Cursor, error)
}

// Cursor seeks many times in one state of a store. It belongs to one goroutine.
type Cursor interface {
	// Seek calls fn with the first n pairs from a key on, or with fewer at the end.
	Seek(key []byte, n int, fn func(key, value []byte) error) error
	Close() error
}

// Span says which pairs a scan visits, and how.
type Span struct {
	// Prefix is what every key begins with, and the keys are from From up to, but
	// without, To; nil: no bound.
	Prefix, From, To []byte
	// Reverse visits the highest key first.
	Reverse bool
	// KeysOnly passes no values.
	KeysOnly bool
	// Limit is how many pairs are visited at most; 0: all.
	Limit int
}

// Bounds returns the bounds of the keys, the prefix included; nil: no bound.
func (s Span) Bounds() (from, to []byte) {
	from, to = s.From, s.To
	if len(s.Prefix) == 0 {
		return from, to
	}
	if from == nil || bytes.Compare(from, s.Prefix) < 0 {
		from = s.Prefix
	}
	if end := after(s.Prefix); end != nil && (to == nil || bytes.Compare(end, to) < 0) {
		to = end
	}
	return from, to
}

// after is the lowest key above all keys with a prefix, nil if there is none.
func after(prefix []byte) []byte {
	for n := len(prefix); n > 0; n-- {
		if last := prefix[n-1]; last < 0xff {
			return append(bytes.Clone(prefix[:n-1]), last+1)
		}
	}
	return nil
}

// Deleter is a Store that deletes keys.
type Deleter interface {
	// DeleteMany deletes all keys or none.
	DeleteMany(keys [][]byte) error
}

// Loading is a Store whose Open may return before all of it is in memory.
type Loading interface {
	// Ready returns once everything is in memory.
	Ready(ctx context.Context) error
}

// Ordering is a Store that tells what its order takes.
type Ordering interface {
	// OrderFigures are what the store itself says of the memory and the disk space
	// that it takes to have its keys in order.
	OrderFigures() []Figure
}
