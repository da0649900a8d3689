package mmapkv

import (
	"time"

	"github.com/mmapkv/mmapkv/internal/guard"
)

// Reader is what can be asked of a store without changing it.
type Reader interface {
	// Get returns a copy of the key's value.
	Get(key []byte) ([]byte, error)
	// AppendGet appends the key's value to dst.
	AppendGet(dst, key []byte) ([]byte, error)
	// View calls fn with the key's value, without copying it.
	View(key []byte, fn func(value []byte) error) error
	// GetMany is View for many keys, in any order.
	GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error
	// Has reports whether the key has a value.
	Has(key []byte) (bool, error)
	// Size returns the size of the key's value in bytes.
	Size(key []byte) (int64, error)
	// TTL returns how long the key still has to live.
	TTL(key []byte) (ttl time.Duration, ok bool, err error)
	// Scan calls fn for each pair that the options name, in order.
	Scan(o ScanOptions, fn func(key, value []byte) error) error
	// Iterator returns an Iterator over the pairs that the options name.
	Iterator(o ScanOptions) (*Iterator, error)
}

var _ Reader = (*Store)(nil)

// Size returns the size of the key's value in bytes, without reading the value. It returns
// ErrNotFound if the key has no value.
func (s *Store) Size(key []byte) (size int64, err error) {
	if s.events.watchesSlow() {
		defer s.timed("Size", time.Now())
	}
	var f found
	old := guard.Enter()
	defer func() {
		if f.endRead(old, recover(), &err) {
			size = 0
		}
	}()
	if err := s.lookup(key, &f, false); err != nil {
		return 0, err
	}
	return int64(len(f.record.Value)), nil
}
