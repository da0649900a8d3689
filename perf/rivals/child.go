package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
	"github.com/mmapkv/mmapkv/perf/workload"
)

// loading is the order to a child process: put every key once into a new store, and
// wait to be killed. The memory of one engine can only be measured in a separate
// process.
type loading struct {
	Engine, Dir     string
	Keys, ValueSize int
	SegmentSize     int64
	Seed            uint64
}

// loaded is the answer of the child: nanoseconds and bytes for a key. Heap is the
// reachable Go heap. Anonymous is all memory of the process that is not pages of files,
// so the system cannot reclaim it without writing it somewhere.
type loaded struct {
	Load, Heap, Anonymous float64
}

// childVariable is the environment variable with a child's loading, as JSON.
const childVariable = "MMAPKV_RIVALS_LOADING"

// loadIfChild loads a store if this process is a child, and then does not return.
func loadIfChild() {
	told := os.Getenv(childVariable)
	if told == "" {
		return
	}
	if err := loadAndWait([]byte(told)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// loadAndWait loads a store and waits to be killed, or for the end of the input if the
// parent ends first.
func loadAndWait(told []byte) error {
	var l loading
	if err := json.Unmarshal(told, &l); err != nil {
		return err
	}
	r, err := rivalNamed(l.Engine)
	if err != nil {
		return err
	}
	d := newData(l.Keys, l.ValueSize)
	source := d.newSource(l.Seed, 0)
	before := memoryNow()
	store, err := r.withSegments(l.SegmentSize).open(l.Dir, workload.Kill)
	if err != nil {
		return err
	}
	inBatches := l.Keys - min(lastPuts, l.Keys/2)
	began := time.Now()
	if err := load(store, source, 0, inBatches); err != nil {
		return err
	}
	took := time.Since(began)
	for i := inBatches; i < l.Keys; i++ {
		if err := store.Put(source.pair(i)); err != nil {
			return err
		}
	}
	after := memoryNow()
	each := func(n float64) float64 { return n / float64(l.Keys) }
	err = json.NewEncoder(os.Stdout).Encode(loaded{
		Load:      float64(took) / float64(inBatches),
		Heap:      each(after.heap - before.heap),
		Anonymous: each(after.anonymous - before.anonymous),
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(store)
	return err
}

// lastPuts is how many keys the child puts one by one at the end. Those that the
// process has not yet passed to the system are lost with it.
const lastPuts = 100

// load puts the keys with numbers in [from, to).
func load(store workload.Store, s *source, from, to int) error {
	for at := from; at < to; {
		n := min(loadBatch, to-at)
		if err := store.Write(s.pairs(n, func() int { at++; return at - 1 })); err != nil {
			return err
		}
	}
	return nil
}

type memory struct{ heap, anonymous float64 }

func memoryNow() memory {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memory{heap: float64(m.HeapAlloc), anonymous: float64(rig.ReadMemory().Anonymous)}
}

// loadInChild starts a child that loads a store, kills it with SIGKILL, and returns
// its answer.
func loadInChild(l loading) (said loaded, err error) {
	told, err := json.Marshal(l)
	if err != nil {
		return said, err
	}
	executable, err := os.Executable()
	if err != nil {
		return said, err
	}
	child := exec.Command(executable)
	child.Env = append(os.Environ(), childVariable+"="+string(told))
	child.Stderr = os.Stderr
	input, err := child.StdinPipe()
	if err != nil {
		return said, err
	}
	defer input.Close()
	output, err := child.StdoutPipe()
	if err != nil {
		return said, err
	}
	if err := child.Start(); err != nil {
		return said, err
	}
	line, err := bufio.NewReader(output).ReadBytes('\n')
	killed := child.Process.Kill()
	_ = child.Wait() // it says that the child was killed
	if err != nil {
		return said, fmt.Errorf("%s: the child that loads it ended early: %w", l.Engine, errors.Join(err, killed))
	}
	return said, errors.Join(killed, json.Unmarshal(line, &said))
}
