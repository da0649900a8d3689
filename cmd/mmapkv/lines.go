package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// line is a pair in JSON Lines: text as it is, anything else in base64.
type line struct {
	Key     *string `json:"key,omitempty"`
	Key64   []byte  `json:"key64,omitempty"`
	Value   *string `json:"value,omitempty"`
	Value64 []byte  `json:"value64,omitempty"`
	Expires int64   `json:"expires,omitempty"` // Unix milliseconds
}

func keyLine(key []byte) line {
	if utf8.Valid(key) {
		text := string(key)
		return line{Key: &text}
	}
	return line{Key64: key}
}

func newLine(s *mmapkv.Store, key, value []byte) (line, error) {
	l := keyLine(key)
	if utf8.Valid(value) {
		text := string(value)
		l.Value = &text
	} else {
		l.Value64 = value
	}
	ttl, expires, err := s.TTL(key)
	if err == nil && expires {
		// Rounded up: the store rounds down when it is imported.
		l.Expires = time.Now().Add(ttl).Add(time.Millisecond - 1).UnixMilli()
	}
	return l, err
}

// pair is what a line says.
func (l line) pair() (key, value []byte, err error) {
	key, err = one(l.Key, l.Key64, "key")
	if err != nil {
		return nil, nil, err
	}
	value, err = one(l.Value, l.Value64, "value")
	return key, value, err
}

func one(text *string, raw []byte, name string) ([]byte, error) {
	switch {
	case text != nil && raw != nil:
		return nil, fmt.Errorf("%s and %s64 are both given", name, name)
	case text != nil:
		return []byte(*text), nil
	case raw != nil:
		return raw, nil
	}
	return nil, fmt.Errorf("%s and %s64 are both missing", name, name)
}

func newExport(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Print all pairs as JSON Lines, which import reads",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.read(func(s *mmapkv.Store) error {
				out := bufio.NewWriter(cmd.OutOrStdout())
				progress := newProgress(cmd.ErrOrStderr(), "exporting", int64(s.Len()))
				err := s.Range(func(key, value []byte) error {
					progress.add(1)
					l, err := newLine(s, key, value)
					if errors.Is(err, mmapkv.ErrNotFound) {
						return nil // it has just expired
					}
					if err != nil {
						return err
					}
					return printJSON(out, l)
				})
				progress.finish()
				return errors.Join(err, out.Flush())
			})
		},
	}
}

// importLines puts JSON Lines into the store, in batches.
func importLines(s *mmapkv.Store, in io.Reader, progress *progress) (imported, expired int, err error) {
	reader := bufio.NewReaderSize(in, 1<<20)
	b := batcher{store: s}
	for number := 1; ; number++ {
		text, err := reader.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return imported, expired, err
		}
		last := err == io.EOF
		if text = bytes.TrimSpace(text); len(text) > 0 {
			put, err := importLine(&b, text)
			if err != nil {
				// What came before it is imported.
				return imported, expired, errors.Join(fmt.Errorf("%w: line %d: %w", errUsage, number, err), b.flush())
			}
			progress.add(int64(len(text)))
			if put {
				imported++
			} else {
				expired++
			}
		}
		if last {
			return imported, expired, b.flush()
		}
	}
}

// importLine puts one line into the batch, unless it has expired.
func importLine(b *batcher, text []byte) (put bool, err error) {
	var l line
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&l); err != nil {
		return false, err
	}
	if decoder.More() {
		return false, errors.New("there is more behind the object")
	}
	key, value, err := l.pair()
	if err != nil {
		return false, err
	}
	var ttl time.Duration
	if l.Expires != 0 {
		if ttl = time.Until(time.UnixMilli(l.Expires)); ttl <= 0 {
			return false, nil
		}
	}
	return true, b.put(key, value, ttl)
}

// batcher collects pairs and writes them some at a time.
type batcher struct {
	store *mmapkv.Store
	batch mmapkv.Batch
	bytes int
}

// batchBytes and batchPairs are when a batch is written.
const (
	batchBytes = 1 << 20
	batchPairs = 1000
)

func (b *batcher) put(key, value []byte, ttl time.Duration) error {
	if len(key) > mmapkv.MaxKeySize || uint64(len(value)) > mmapkv.MaxValueSize {
		return fmt.Errorf("%w: a key of %d and a value of %d bytes", mmapkv.ErrTooLarge, len(key), len(value))
	}
	if len(value) > batchBytes && ttl == 0 {
		if err := b.flush(); err != nil {
			return err
		}
		return b.store.Put(key, value)
	}
	if ttl > 0 {
		b.batch.PutWithTTL(key, value, ttl)
	} else {
		b.batch.Put(key, value)
	}
	b.bytes += len(key) + len(value)
	if b.bytes < batchBytes && b.batch.Len() < batchPairs {
		return nil
	}
	return b.flush()
}

func (b *batcher) flush() error {
	err := b.store.Write(&b.batch)
	b.batch.Reset()
	b.bytes = 0
	return err
}
