//go:build linux

package realdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// script draws what a program does with a store. Scripts with the same seed, number and hour
// are the same, so that a parent knows what its child did.
type script struct {
	*rand.Rand
	hour  int64 // how many hours the store's clock is ahead; the scripts only move it by whole hours
	drawn int
}

func newScript(seed, number uint64, hour int64) *script {
	return &script{Rand: rand.New(rand.NewPCG(seed, number)), hour: hour}
}

// action is one action of a program.
type action struct {
	kind actionKind
	ops  []oracle.Op // of write and writeBatch
	hour int64       // of the clock from now on
}

type actionKind string

const (
	write      actionKind = "write"
	writeBatch actionKind = "batch"
	syncNow    actionKind = "sync"
	compact    actionKind = "compact"
	step       actionKind = "step"
)

func (s *script) next() action {
	if s.IntN(50) == 0 {
		s.hour++
	}
	a := action{kind: step, hour: s.hour}
	switch p := s.IntN(100); {
	case p < 70:
		a.kind, a.ops = write, []oracle.Op{s.op()}
	case p < 85:
		a.kind = writeBatch
		for range 2 + s.IntN(6) {
			a.ops = append(a.ops, s.op())
		}
		if s.IntN(2) == 0 { // a batch of several pages, some of which may be lost
			for range 20 {
				a.ops = append(a.ops, s.op())
			}
		}
	case p < 88:
		a.kind = syncNow
	case p < 90:
		a.kind = compact
	}
	return a
}

// op changes one of few keys, to a value that is never drawn again.
func (s *script) op() oracle.Op {
	s.drawn++
	op := oracle.Op{Key: fmt.Sprint("key ", s.IntN(40))}
	if s.IntN(5) == 0 {
		op.Delete = true
		return op
	}
	if s.IntN(5) == 0 {
		op.Expiry = (s.hour+1+s.Int64N(3))*hourMillis - hourMillis/2
	}
	size := s.IntN(200)
	switch s.IntN(30) {
	case 0, 1, 2:
		size = 600 + s.IntN(2000)
	case 3:
		size = 4000 + s.IntN(9000) // most of these values have a file of their own
	}
	op.Value = strings.Repeat(fmt.Sprintf("%d of %x ", s.drawn, s.Uint32()), size/12+1)
	return op
}

const hourMillis = int64(time.Hour / time.Millisecond)

// draw draws the options of a program.
func (s *script) draw() mmapkv.Options {
	policies := []fsync.Policy{fsync.Always, fsync.Every(3 * time.Millisecond), fsync.Every(time.Second), fsync.Never}
	o := mmapkv.Options{SegmentSize: 4 << 10 << (2 * s.IntN(4)), Sync: policies[s.IntN(len(policies))]}
	o.Compaction.GarbageRatio = []float64{0.1, 0.5}[s.IntN(2)]
	return o
}

// program is an open store on which a script's actions run.
type program struct {
	*mmapkv.Store
	hour  atomic.Int64
	steps []inject.Step
}

// openProgram opens the store with its clock hour hours ahead. byHand means without goroutines:
// the script runs the background steps.
func openProgram(dir string, o mmapkv.Options, hour int64, byHand bool) (*program, error) {
	p := &program{}
	p.hour.Store(hour)
	seams := &inject.Seams{
		PartStep: 2 << 10,
		Now:      func() time.Time { return time.Now().Add(time.Duration(p.hour.Load()) * time.Hour) },
	}
	if byHand {
		seams.Manual = true
		seams.OnOpen = func(steps []inject.Step) { p.steps = steps }
	}
	inject.Into(&o, seams)
	var err error
	p.Store, err = mmapkv.Open(dir, &o)
	return p, err
}

// do performs an action.
func (p *program) do(a action) error {
	p.hour.Store(a.hour)
	switch a.kind {
	case write:
		return p.write(a.ops[0])
	case writeBatch:
		return p.writeBatch(a.ops)
	case syncNow:
		return p.Sync()
	case compact:
		return p.Compact(context.Background())
	}
	for _, s := range p.steps {
		if _, err := s.Run(); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) write(op oracle.Op) error {
	key, value := []byte(op.Key), []byte(op.Value)
	switch {
	case op.Delete:
		return p.Delete(key)
	case op.Expiry != 0:
		return p.PutWithTTL(key, value, p.ttl(op))
	}
	return p.Put(key, value)
}

func (p *program) writeBatch(ops []oracle.Op) error {
	var b mmapkv.Batch
	for _, op := range ops {
		key, value := []byte(op.Key), []byte(op.Value)
		switch {
		case op.Delete:
			b.Delete(key)
		case op.Expiry != 0:
			b.PutWithTTL(key, value, p.ttl(op))
		default:
			b.Put(key, value)
		}
	}
	return p.Write(&b)
}

// ttl returns the time to live of op, which ends half an hour away from every full hour.
func (p *program) ttl(op oracle.Op) time.Duration {
	return time.Duration(op.Expiry-p.hour.Load()*hourMillis) * time.Millisecond
}

// content returns everything that the store shows. All ways to read must agree.
func (p *program) content() (map[string]string, error) {
	shown := map[string]string{}
	err := p.Range(func(key, value []byte) error {
		if _, again := shown[string(key)]; again {
			return fmt.Errorf("Range shows %q twice", key)
		}
		shown[string(key)] = string(value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("Range: %w", err)
	}
	for i := range 40 {
		key := fmt.Sprint("key ", i)
		want, there := shown[key]
		value, err := p.Get([]byte(key))
		if errors.Is(err, mmapkv.ErrNotFound) && !there {
			continue
		}
		if err != nil || !there || !bytes.Equal(value, []byte(want)) {
			return nil, fmt.Errorf("Get(%q) = %.40q, %v; Range shows %.40q, %v", key, value, err, want, there)
		}
	}
	keys := 0
	for key := range p.Keys() {
		if keys++; shown[string(key)] == "" {
			return nil, fmt.Errorf("Keys yields %q, but Range does not show it", key)
		}
	}
	if keys != len(shown) {
		return nil, fmt.Errorf("Keys yields %d keys of %d", keys, len(shown))
	}
	return shown, nil
}
