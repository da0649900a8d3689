package rig

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// KeySize is the size of every key, and MinValueSize the minimum size of a value, in
// bytes.
const (
	KeySize      = 16
	MinValueSize = 16
)

// Data is keys of one size with values of one size. A value begins with the numbers
// of its key and its version; the rest is noise.
type Data struct {
	Keys, ValueSize int
	Rate            int // maximum of puts per second when a goroutine overwrites; 0: no limit
}

// Check returns an error if such data cannot exist.
func (d Data) Check() error {
	if d.Keys < 1 || int64(d.Keys) >= 1e12 {
		return fmt.Errorf("%w: %d keys; there must be between 1 and 1e12", ErrUsage, d.Keys)
	}
	if d.ValueSize < MinValueSize || int64(d.ValueSize) > mmapkv.MaxBatchSize/2 {
		return fmt.Errorf("%w: a value of %d bytes; it must have between %d and %d", ErrUsage, d.ValueSize, MinValueSize, int64(mmapkv.MaxBatchSize/2))
	}
	if d.Rate < 0 {
		return fmt.Errorf("%w: %d puts a second", ErrUsage, d.Rate)
	}
	return nil
}

// CheckValue returns an error if a value is not the key's.
func (d Data) CheckValue(i int, value []byte) error {
	if len(value) != d.ValueSize || binary.LittleEndian.Uint64(value) != uint64(i) {
		return fmt.Errorf("key %d has a value of %d bytes that is not its own", i, len(value))
	}
	return nil
}

// AppendKey appends a key.
func AppendKey(buffer []byte, i int) []byte {
	var digits [12]byte
	number := strconv.AppendInt(digits[:0], int64(i), 10)
	buffer = append(buffer, "key-000000000000"[:KeySize-len(number)]...)
	return append(buffer, number...)
}

// writer puts versions of the data's keys, for one goroutine.
type writer struct {
	store      *mmapkv.Store
	key, value []byte
	version    uint64
}

func (d Data) newWriter(store *mmapkv.Store) *writer {
	w := &writer{store: store, value: make([]byte, d.ValueSize)}
	noise := rand.NewChaCha8([32]byte{})
	_, _ = noise.Read(w.value) // it never fails
	return w
}

func (w *writer) put(i int) error {
	w.version++
	w.key = AppendKey(w.key[:0], i)
	binary.LittleEndian.PutUint64(w.value, uint64(i))
	binary.LittleEndian.PutUint64(w.value[8:], w.version)
	return w.store.Put(w.key, w.value)
}

// lookEvery is how many puts are made between two checks of the context.
const lookEvery = 64

// Load puts every key once, from several goroutines.
func (d Data) Load(ctx context.Context, store *mmapkv.Store, goroutines int) error {
	return d.each(goroutines, func(n int) error {
		w := d.newWriter(store)
		for i := n; i < d.Keys; i += goroutines {
			if i/goroutines%lookEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if err := w.put(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// Overwrite makes this many puts of random keys, from several goroutines.
func (d Data) Overwrite(ctx context.Context, store *mmapkv.Store, puts, goroutines int, seed uint64) error {
	return d.each(goroutines, func(n int) error {
		share := puts / goroutines
		if n < puts%goroutines {
			share++
		}
		_, err := d.overwrite(ctx, store, share, rand.New(rand.NewPCG(seed, uint64(n))))
		return err
	})
}

// OverwriteUntil puts random keys from this goroutine until the context ends, and
// returns how many.
func (d Data) OverwriteUntil(ctx context.Context, store *mmapkv.Store, seed uint64) (puts int, err error) {
	puts, err = d.overwrite(ctx, store, math.MaxInt, rand.New(rand.NewPCG(seed, 0)))
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	return puts, err
}

func (d Data) overwrite(ctx context.Context, store *mmapkv.Store, puts int, random *rand.Rand) (did int, err error) {
	w := d.newWriter(store)
	began := time.Now()
	for ; did < puts; did++ {
		if did%lookEvery == 0 {
			if ctx.Err() != nil {
				return did, ctx.Err()
			}
			if d.Rate > 0 {
				time.Sleep(time.Until(began.Add(time.Duration(did) * time.Second / time.Duration(d.Rate))))
			}
		}
		if err := w.put(random.IntN(d.Keys)); err != nil {
			return did, err
		}
	}
	return did, nil
}

// each calls fn on this many goroutines and waits for them.
func (d Data) each(goroutines int, fn func(n int) error) error {
	errs := make([]error, goroutines)
	var group sync.WaitGroup
	for n := range goroutines {
		group.Go(func() { errs[n] = fn(n) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// OverwriteEverySecond puts the keys with even numbers.
func (d Data) OverwriteEverySecond(ctx context.Context, store *mmapkv.Store) error {
	w := d.newWriter(store)
	for i := 0; i < d.Keys; i += 2 {
		if i/2%lookEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.put(i); err != nil {
			return err
		}
	}
	return nil
}

// Verify reads every key and checks its value. It calls each, unless that is nil, with
// every pair.
func (d Data) Verify(ctx context.Context, store *mmapkv.Store, each func(key, value []byte) error) error {
	var key, value []byte
	var err error
	for i := range d.Keys {
		if i%lookEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key = AppendKey(key[:0], i)
		if value, err = store.AppendGet(value[:0], key); err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
		if err := d.CheckValue(i, value); err != nil {
			return err
		}
		if each == nil {
			continue
		}
		if err := each(key, value); err != nil {
			return err
		}
	}
	return nil
}
