package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// result is the result of one phase, over all rounds.
type result struct {
	latency *hdrhistogram.Histogram // nanoseconds from the intended start
	alone   *hdrhistogram.Histogram // nanoseconds from the actual start
	took    time.Duration

	// What ran beside it, and what the process used.
	puts, compactions int
	scanned           int   // pairs
	compacted         int64 // bytes read
	stalled           time.Duration
	processorTime     time.Duration
}

func newResult() *result {
	return &result{latency: newHistogram(), alone: newHistogram()}
}

// longest is the longest latency that is recorded; longer ones count as this.
const longest = 10 * time.Minute

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(longest), 3)
}

func record(h *hdrhistogram.Histogram, d time.Duration) error {
	return h.RecordValue(int64(min(max(d, 1), longest)))
}

// percentiles formats cells of the report.
func percentiles(h *hdrhistogram.Histogram) string {
	var cells strings.Builder
	for _, p := range []float64{50, 99, 99.9, 99.99} {
		fmt.Fprintf(&cells, "%s\t", microseconds(h.ValueAtPercentile(p)))
	}
	fmt.Fprintf(&cells, "%s\t", microseconds(h.Max()))
	return cells.String()
}

func microseconds(nanoseconds int64) string { return fmt.Sprintf("%.1fµs", float64(nanoseconds)/1e3) }

// slow is the percentile that compare uses.
func slow(h *hdrhistogram.Histogram) float64 { return float64(h.ValueAtPercentile(99.9)) }

// run measures one phase and adds it to the result.
func (c config) run(ctx context.Context, store *mmapkv.Store, p phase, round int, r *result) (err error) {
	if err := store.Compact(ctx); err != nil {
		return err
	}
	aside, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	var putErr, scanErr, compactErr error
	var puts, scanned int
	began := time.Now()
	if p.beside != nothing {
		group.Go(func() { puts, putErr = c.data.OverwriteUntil(aside, store, c.seed+uint64(round)) })
	}
	if p.beside == scanning {
		group.Go(func() { scanned, scanErr = c.scanUntil(aside, store) })
	}
	if p.beside == compacting && !c.background {
		group.Go(func() { compactErr = compactUntil(aside, store) })
	}
	defer func() {
		stop()
		group.Wait()
		// The speeds of the writer and the scans are averaged over all their time, warm-up
		// included.
		share := c.duration.Seconds() / time.Since(began).Seconds()
		r.puts += int(float64(puts) * share)
		r.scanned += int(float64(scanned) * share)
		err = errors.Join(err, putErr, scanErr, compactErr)
	}()

	time.Sleep(c.warmUp())
	before, processorBefore := store.Stats(), rig.ProcessorTime()
	started := time.Now()
	err = c.keepPace(ctx, store, p.reads, c.seed+uint64(round), r)
	r.took += time.Since(started)
	after := store.Stats()
	r.processorTime += rig.ProcessorTime() - processorBefore
	r.compacted += after.Compaction.BytesIn - before.Compaction.BytesIn
	r.compactions += after.Compaction.Runs - before.Compaction.Runs
	r.stalled += after.WriteStall - before.WriteStall
	return err
}

// compactUntil compacts without pause until the context ends.
func compactUntil(ctx context.Context, store *mmapkv.Store) error {
	for {
		if err := store.Compact(ctx); ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// scanUntil scans all pairs in order, over and over, until the context ends, and returns
// how many pairs that was.
func (c config) scanUntil(ctx context.Context, store *mmapkv.Store) (pairs int, err error) {
	var want []byte
	for {
		n := 0
		err := store.Scan(mmapkv.ScanOptions{}, func(key, value []byte) error {
			// The keys are in the order of their numbers.
			if want = rig.AppendKey(want[:0], n); string(want) != string(key) {
				return fmt.Errorf("a scan has key %s where %s should be", key, want)
			}
			if err := c.data.CheckValue(n, value); err != nil {
				return err
			}
			n++
			return ctx.Err()
		})
		pairs += n
		switch {
		case ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())):
			return pairs, nil
		case err == nil && n != c.data.Keys:
			return pairs, fmt.Errorf("a scan has %d keys of %d", n, c.data.Keys)
		case err != nil:
			return pairs, err
		}
	}
}

// keepPace starts a read, or nothing, at each intended start.
func (c config) keepPace(ctx context.Context, store *mmapkv.Store, reads bool, seed uint64, r *result) error {
	reader := newReader(c.data, store, seed)
	interval := c.interval()
	sleeper := rig.NewSleeper()
	defer sleeper.Close()
	began := time.Now()
	for n := range c.reads() {
		due := time.Duration(n) * interval
		started := time.Since(began)
		for started < due {
			sleeper.Sleep(due - started)
			started = time.Since(began)
		}
		if reads {
			if err := reader.read(); err != nil {
				return err
			}
		}
		ended := time.Since(began)
		if err := errors.Join(ctx.Err(), record(r.latency, ended-due), record(r.alone, ended-started)); err != nil {
			return err
		}
	}
	return nil
}

// reader reads random keys and checks what it finds.
type reader struct {
	data   rig.Data
	store  *mmapkv.Store
	random *rand.Rand
	key    []byte
	number int // of the key
	check  func(value []byte) error
}

func newReader(data rig.Data, store *mmapkv.Store, seed uint64) *reader {
	r := &reader{data: data, store: store, random: rand.New(rand.NewPCG(seed, 1))}
	r.check = func(value []byte) error { return r.data.CheckValue(r.number, value) }
	return r
}

func (r *reader) read() error {
	r.number = r.random.IntN(r.data.Keys)
	r.key = rig.AppendKey(r.key[:0], r.number)
	return r.store.View(r.key, r.check)
}
