//go:build linux

package realdisk

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

var policies = []fsync.Policy{fsync.Always, fsync.Every(5 * time.Millisecond), fsync.Never}

// checkedStore is a store and what it must hold.
type checkedStore struct {
	*mmapkv.Store
	t       *testing.T
	dir     string
	options mmapkv.Options
	want    map[string]string
	last    int // number of the last new key
}

func openChecked(t *testing.T, dir string, options mmapkv.Options) *checkedStore {
	t.Helper()
	s := &checkedStore{t: t, dir: dir, options: options, want: map[string]string{}}
	s.open()
	t.Cleanup(func() {
		if s.Store != nil {
			s.Close()
		}
	})
	return s
}

func (s *checkedStore) open() {
	s.t.Helper()
	var err error
	if s.Store, err = mmapkv.Open(s.dir, &s.options); err != nil {
		s.t.Fatalf("Open: %v", err)
	}
	if damages := s.Stats().Recovery.Damages; len(damages) > 0 {
		s.t.Fatalf("Open reports damage: %v", damages)
	}
}

// pair returns a new key and a value of size bytes.
func (s *checkedStore) pair(size int) (key, value string) {
	s.last++
	value = strings.Repeat(fmt.Sprintf("%07d ", s.last), size/8+1)[:size]
	return fmt.Sprintf("key-%07d", s.last), value
}

// putNew puts a new pair. If that succeeds, the store must hold it.
func (s *checkedStore) putNew(size int) (key string, err error) {
	key, value := s.pair(size)
	if err = s.Put([]byte(key), []byte(value)); err == nil {
		s.want[key] = value
	}
	return key, err
}

func (s *checkedStore) mustPut(count, size int) {
	s.t.Helper()
	for range count {
		if key, err := s.putNew(size); err != nil {
			s.t.Fatalf("Put(%s): %v", key, err)
		}
	}
}

func (s *checkedStore) mustClose() {
	s.t.Helper()
	if err := s.Close(); err != nil {
		s.t.Fatalf("Close: %v", err)
	}
}

// compare reads the store by Get and by Range. It expects exactly what the store must hold, and
// none of the absent keys.
func (s *checkedStore) compare(absent []string) {
	s.t.Helper()
	for key, want := range s.want {
		s.wantValue(key, want)
	}
	for _, key := range absent {
		s.wantAbsent(key)
	}
	shown := map[string]string{}
	err := s.Range(func(key, value []byte) error { shown[string(key)] = string(value); return nil })
	if err != nil || !maps.Equal(shown, s.want) {
		s.t.Fatalf("Range shows %d pairs, %v; want %d", len(shown), err, len(s.want))
	}
	if n := s.Len(); n != len(s.want) {
		s.t.Fatalf("Len = %d, want %d", n, len(s.want))
	}
}

func (s *checkedStore) wantValue(key, want string) {
	s.t.Helper()
	if value, err := s.Get([]byte(key)); err != nil || string(value) != want {
		s.t.Fatalf("Get(%s) = %.40q, %v; want %.40q", key, value, err, want)
	}
}

func (s *checkedStore) wantAbsent(key string) {
	s.t.Helper()
	if value, err := s.Get([]byte(key)); !errors.Is(err, mmapkv.ErrNotFound) {
		s.t.Fatalf("Get(%s) = %.40q, %v; want ErrNotFound", key, value, err)
	}
}

// keys returns the keys that the store must hold, oldest first.
func (s *checkedStore) keys() []string { return slices.Sorted(maps.Keys(s.want)) }
