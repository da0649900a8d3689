package suites

import (
	"bytes"
	"testing"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// stores are the options under which the suites run.
var stores = map[string]mmapkv.Options{
	"defaults":       {},
	"small segments": {SegmentSize: 4 << 10},
}

// open opens a store of the test's own, which the test may close itself.
func open(t *testing.T, o mmapkv.Options) *mmapkv.Store {
	t.Helper()
	s, err := mmapkv.Open(t.TempDir(), &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// iterator is the Iterator of both projects. They read the current pair even after the
// store was closed, so a move copies the pair.
type iterator struct {
	of         *mmapkv.Iterator // nil if it could not be made, or was released
	key, value []byte           // nil before the first pair and after the last
	err        error
}

// newIterator returns an iterator even if the store refuses one: both projects expect
// the error from the iterator.
func newIterator(s *mmapkv.Store, o mmapkv.ScanOptions) *iterator {
	of, err := s.Iterator(o)
	if err != nil {
		return &iterator{err: err}
	}
	return &iterator{of: of}
}

func (it *iterator) Next() bool {
	it.key, it.value = nil, nil
	if it.of == nil || it.err != nil {
		return false
	}
	if !it.of.Next() {
		it.err = it.of.Err()
		return false
	}
	value, err := it.of.Value()
	if err != nil {
		it.err = err
		return false
	}
	it.key, it.value = bytes.Clone(it.of.Key()), bytes.Clone(value)
	return true
}

func (it *iterator) Error() error  { return it.err }
func (it *iterator) Key() []byte   { return it.key }
func (it *iterator) Value() []byte { return it.value }

func (it *iterator) Release() {
	if it.of != nil {
		_ = it.of.Close() // what went wrong before is in err
	}
	it.of = nil
}
