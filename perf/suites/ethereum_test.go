package suites

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/ethdb/dbtest"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func TestEthereum(t *testing.T) {
	for name, options := range stores {
		t.Run(name, func(t *testing.T) {
			dbtest.TestDatabaseSuite(t, func() ethdb.KeyValueStore { return ethereum{open(t, options)} })
		})
	}
}

// ethereum is a store as go-ethereum wants it.
type ethereum struct{ *mmapkv.Store }

// NewIterator takes the start without the prefix.
func (e ethereum) NewIterator(prefix, start []byte) ethdb.Iterator {
	return newIterator(e.Store, mmapkv.ScanOptions{Prefix: prefix, From: append(bytes.Clone(prefix), start...)})
}

func (e ethereum) DeleteRange(start, end []byte) error {
	b := ethereumBatch{store: e.Store}
	return errors.Join(b.DeleteRange(start, end), b.Write())
}

func (e ethereum) NewBatch() ethdb.Batch            { return &ethereumBatch{store: e.Store} }
func (e ethereum) NewBatchWithSize(int) ethdb.Batch { return e.NewBatch() }

func (e ethereum) Compact(_, _ []byte) error { return e.Store.Compact(context.Background()) }
func (e ethereum) SyncKeyValue() error       { return e.Sync() }

func (e ethereum) Stat() (string, error) {
	stats := e.Stats()
	return fmt.Sprintf("%d keys in %d segments", stats.Keys, len(stats.Segments)), nil
}

// change is one operation of a batch. A delete has no value and, unless it is of a
// range, no end.
type change struct {
	key, value []byte
	kind       kind
	end        []byte
}

type kind int

const (
	put kind = iota
	remove
	removeRange
)

// ethereumBatch keeps the changes in order, so that it can replay them. Which keys are
// in a range is decided when it is written.
type ethereumBatch struct {
	store   *mmapkv.Store
	changes []change
	size    int
}

func (b *ethereumBatch) add(c change) error {
	b.changes = append(b.changes, c)
	b.size += len(c.key) + len(c.value) + len(c.end)
	return nil
}

func (b *ethereumBatch) Put(key, value []byte) error {
	return b.add(change{key: bytes.Clone(key), value: bytes.Clone(value)})
}

func (b *ethereumBatch) Delete(key []byte) error {
	return b.add(change{kind: remove, key: bytes.Clone(key)})
}

func (b *ethereumBatch) DeleteRange(start, end []byte) error {
	return b.add(change{kind: removeRange, key: bytes.Clone(start), end: bytes.Clone(end)})
}

func (b *ethereumBatch) ValueSize() int { return b.size }
func (b *ethereumBatch) Reset()         { b.changes, b.size = nil, 0 }
func (b *ethereumBatch) Close()         {}

func (b *ethereumBatch) Write() error {
	var batch mmapkv.Batch
	for i, c := range b.changes {
		switch c.kind {
		case put:
			batch.Put(c.key, c.value)
		case remove:
			batch.Delete(c.key)
		case removeRange:
			if err := b.removeRange(&batch, b.changes[:i], c.key, c.end); err != nil {
				return err
			}
		}
	}
	return b.store.Write(&batch)
}

// removeRange deletes the keys of a range that the store has, and those that the batch
// itself has put before.
func (b *ethereumBatch) removeRange(batch *mmapkv.Batch, before []change, start, end []byte) error {
	for _, c := range before {
		if c.kind == put && bytes.Compare(c.key, start) >= 0 && (end == nil || bytes.Compare(c.key, end) < 0) {
			batch.Delete(c.key)
		}
	}
	return b.store.Scan(mmapkv.ScanOptions{From: start, To: end, KeysOnly: true}, func(key, _ []byte) error {
		batch.Delete(key)
		return nil
	})
}

func (b *ethereumBatch) Replay(w ethdb.KeyValueWriter) error {
	for _, c := range b.changes {
		var err error
		switch c.kind {
		case put:
			err = w.Put(c.key, c.value)
		case remove:
			err = w.Delete(c.key)
		case removeRange:
			ranges, ok := w.(ethdb.KeyValueRangeDeleter)
			if !ok {
				return errors.ErrUnsupported
			}
			err = ranges.DeleteRange(c.key, c.end)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
