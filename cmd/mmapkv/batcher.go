package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// importLines puts JSON Lines into the store, in batches. What stands before a
// bad line is imported.
func importLines(s *mmapkv.Store, in io.Reader, progress *progress) (imported, expired int, err error) {
	b := batcher{store: s}
	err = errors.Join(b.putLines(bufio.NewReaderSize(in, 1<<20), progress), b.flush())
	return b.written, b.expired, err
}

// batcher collects pairs and writes them some at a time, in their order.
type batcher struct {
	store   *mmapkv.Store
	batch   mmapkv.Batch
	bytes   int // of the keys and values in the batch
	written int // pairs
	expired int // pairs that were left out
}

// batchBytes and batchPairs are when a batch is written.
const (
	batchBytes = 1 << 20
	batchPairs = 1000
)

func (b *batcher) putLines(in *bufio.Reader, progress *progress) error {
	for number := 1; ; number++ {
		text, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return err
		}
		last := err == io.EOF
		progress.add(int64(len(text)))
		if text = bytes.TrimSpace(text); len(text) > 0 {
			p, err := parseLine(text)
			if err != nil {
				return fmt.Errorf("%w: line %d: %w", errUsage, number, err)
			}
			if err := b.putPair(p); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

func (b *batcher) putPair(p pair) error {
	switch {
	case p.expires == nil:
		return b.put(p.key, p.value)
	case untilExpiry(*p.expires) <= 0:
		b.expired++
		return nil
	}
	return b.alone(func() error { return putUntil(b.store, p.key, p.value, *p.expires) })
}

func (b *batcher) put(key, value []byte) error {
	if len(value) > batchBytes {
		return b.alone(func() error { return b.store.Put(key, value) })
	}
	b.batch.Put(key, value)
	b.bytes += len(key) + len(value)
	if b.bytes < batchBytes && b.batch.Len() < batchPairs {
		return nil
	}
	return b.flush()
}

// alone makes a put that goes into no batch, behind those that do.
func (b *batcher) alone(put func() error) error {
	err := b.flush()
	if err == nil {
		err = put()
	}
	if err == nil {
		b.written++
	}
	return err
}

func (b *batcher) flush() error {
	pairs := b.batch.Len()
	err := b.store.Write(&b.batch)
	b.batch.Reset()
	b.bytes = 0
	if err == nil {
		b.written += pairs
	}
	return err
}
