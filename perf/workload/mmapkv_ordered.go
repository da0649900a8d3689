package workload

import (
	"io/fs"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// Scan is a Scan of the store, even of a single pair.
func (m *mapped) Scan(s Span, fn func(key, value []byte) error) error {
	o := mmapkv.ScanOptions{Prefix: s.Prefix, From: s.From, To: s.To, Reverse: s.Reverse, KeysOnly: s.KeysOnly}
	if s.Limit == 0 {
		return m.Store.Scan(o, fn)
	}
	left := s.Limit
	return m.Store.Scan(o, func(key, value []byte) error {
		err := fn(key, value)
		if left--; err == nil && left == 0 {
			return fs.SkipAll
		}
		return err
	})
}

func (m *mapped) Cursor() (Cursor, error) {
	it, err := m.Iterator(mmapkv.ScanOptions{})
	if err != nil {
		return nil, err
	}
	c := &iterator{Iterator: it}
	c.show = func(value []byte) error { return c.fn(c.Key(), value) }
	return c, nil
}

// iterator adapts a mmapkv.Iterator to Cursor.
type iterator struct {
	*mmapkv.Iterator
	fn   func(key, value []byte) error
	show func(value []byte) error // calls fn
}

func (c *iterator) Seek(key []byte, n int, fn func(key, value []byte) error) error {
	c.fn = fn
	for there := c.SeekGE(key); there; there = c.Next() {
		if err := c.View(c.show); err != nil {
			return err
		}
		if n--; n == 0 {
			return nil
		}
	}
	return c.Err()
}

func (m *mapped) DeleteMany(keys [][]byte) error {
	batch := m.batches.Get().(*mmapkv.Batch)
	defer m.batches.Put(batch)
	batch.Reset()
	for _, key := range keys {
		batch.Delete(key)
	}
	return m.Store.Write(batch)
}

// OrderFigures are what Stats says of the memory and the files that order takes, each
// for one key where that makes sense.
func (m *mapped) OrderFigures() []Figure {
	stats := m.Stats()
	keys := float64(max(1, stats.Keys))
	return []Figure{
		{"index", float64(stats.IndexBytes) / keys, "B/key"},
		{"runs", float64(stats.Order.Bytes) / keys, "B/key"},
		{"view", float64(stats.Order.ViewBytes) / float64(max(1, stats.Order.ViewKeys)), "B/key"},
		{"views made in", stats.Order.ViewsTook.Seconds(), "s"},
		{"segments", float64(len(stats.Segments)), "files"},
	}
}
