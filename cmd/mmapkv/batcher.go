package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// importLines puts JSON Lines into the store, in batches. The lines before a bad line
// are imported. importLines opens the store when there is something to put, or when it
// has read all of a valid input: bad input alone creates no store.
func importLines(open func() (*mmapkv.Store, error), in io.Reader, counted bool, progress *progress) (imported, expired int, err error) {
	b := batcher{open: open}
	err = b.putLines(bufio.NewReaderSize(in, 1<<20), counted, progress)
	if err == nil {
		err = b.opened()
	}
	err = errors.Join(err, b.flush())
	if b.store != nil {
		err = errors.Join(err, b.store.Close())
	}
	return b.written, b.expired, err
}

// batcher collects pairs and writes them in batches, in order.
type batcher struct {
	store   *mmapkv.Store
	open    func() (*mmapkv.Store, error) // opens the store when it is first needed
	batch   mmapkv.Batch
	bytes   int // of the keys and values in the batch
	written int // pairs
	expired int // pairs that were left out
}

func (b *batcher) opened() (err error) {
	if b.store == nil {
		b.store, err = b.open()
	}
	return err
}

// A batch that reaches one of these is written.
const (
	batchBytes = 1 << 20
	batchPairs = 1000
)

// putLines puts the pairs of all lines. A count confirms the pairs since the previous
// count. If counted, the input must end with one.
func (b *batcher) putLines(in *bufio.Reader, counted bool, progress *progress) error {
	var pairs int64 // not yet confirmed by a count
	ended := false  // whether the last line is a count
	for number := 1; ; number++ {
		text, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return err
		}
		last, end := err == io.EOF, number // the line after the input
		if len(text) > 0 {
			end++
		}
		progress.add(int64(len(text)))
		if text = bytes.TrimSpace(text); len(text) > 0 {
			p, err := parseLine(text)
			if err != nil {
				return fmt.Errorf("%w: line %d: %w", errUsage, number, err)
			}
			if ended = p.count != nil; ended {
				if *p.count != pairs {
					return fmt.Errorf("%w: line %d: the count is %d, but there are %d pairs before it", errUsage, number, *p.count, pairs)
				}
				pairs = 0
			} else {
				pairs++
				err = b.putPair(p)
			}
			if err != nil {
				return err
			}
		}
		if last && counted && !ended {
			return fmt.Errorf("%w: line %d: the count is missing: the input was truncated, or is not an export; --no-count accepts it as it is", errUsage, end)
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

// alone makes a put outside any batch, after the pairs that are in one.
func (b *batcher) alone(put func() error) error {
	err := errors.Join(b.opened(), b.flush())
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
	if pairs == 0 {
		return nil
	}
	err := b.opened()
	if err == nil {
		err = b.store.Write(&b.batch)
	}
	b.batch.Reset()
	b.bytes = 0
	if err == nil {
		b.written += pairs
	}
	return err
}
