package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// plan is the endless sequence of one writer's steps. It depends on the files alone,
// so the parent knows what the killed child has done. No two writers share a key.
type plan struct {
	writer int
	own    []string // keys from the files that only this writer changes; may be empty
	files  map[string][]byte
	names  []string // of all files, sorted
}

// plans deals the files out to the writers.
func plans(files map[string][]byte) []plan {
	names := slices.Sorted(maps.Keys(files))
	dealt := make([]plan, writers)
	for w := range dealt {
		dealt[w] = plan{writer: w, files: files, names: names}
	}
	for i, name := range names {
		p := &dealt[i%writers]
		p.own = append(p.own, name)
	}
	return dealt
}

// step is one write.
type step struct {
	key      string
	value    []byte
	isDelete bool
}

// step is the n-th write, from 1. Of every six, three put new keys, one deletes a new
// key, one overwrites the key of a file, and one then deletes that key.
func (p plan) step(n int) step {
	switch n % 6 {
	case 3:
		return step{key: p.newKey(n - 2), isDelete: true}
	case 5:
		return step{key: p.fileKey(n), value: p.value(n)}
	case 0:
		return step{key: p.fileKey(n - 1), isDelete: true}
	}
	return step{key: p.newKey(n), value: p.value(n)}
}

func (p plan) newKey(n int) string { return fmt.Sprintf("writer %d, number %d", p.writer, n) }

// fileKey cycles through the writer's own files.
func (p plan) fileKey(n int) string {
	if len(p.own) == 0 {
		return p.newKey(0)
	}
	return p.own[n/6%len(p.own)]
}

// value is a line that no other write has, followed by a file's content.
func (p plan) value(n int) []byte {
	name := p.names[(p.writer+n*writers)%len(p.names)]
	return append(fmt.Appendf(nil, "%d %d\n", p.writer, n), p.files[name]...)
}

func (d step) do(s *mmapkv.Store) error {
	if d.isDelete {
		return s.Delete([]byte(d.key))
	}
	return s.Put([]byte(d.key), d.value)
}

// apply changes the content as do changes a store that holds it.
func (d step) apply(content map[string][]byte) {
	if d.isDelete {
		delete(content, d.key)
	} else {
		content[d.key] = d.value
	}
}

// isDone reports whether the store holds the result of the step.
func (d step) isDone(s *mmapkv.Store) (bool, error) {
	value, err := s.Get([]byte(d.key))
	if errors.Is(err, mmapkv.ErrNotFound) {
		return d.isDelete, nil
	}
	return err == nil && !d.isDelete && bytes.Equal(value, d.value), err
}
