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

// loading is what a child process is told to do: put every key once into a new
// store, and stay until it is killed. What one engine takes of memory can only be
// told from a process of its own.
type loading struct {
	Engine, Dir     string
	Keys, ValueSize int
	Seed            uint64
}

// loaded is what the child says then: nanoseconds and bytes for a key. Heap is what
// is reachable of Go's; anonymous is all memory of the process that is no file's,
// and so what cannot be given back to the system without being written somewhere.
type loaded struct {
	Load, Heap, Anonymous float64
}

// childVariable holds a loading, as JSON, where this process is such a child.
const childVariable = "MMAPKV_RIVALS_LOADING"

// loadIfChild does not return in a child.
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

// loadAndWait waits for the kill, or for the end of the input where the parent ended
// before.
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
	store, err := r.open(l.Dir, workload.Kill)
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

// lastPuts is how many keys the child puts one by one, at the end: what the process
// had not handed over to the system is lost with it.
const lastPuts = 100

// load puts the keys from one number to below another.
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

// loadInChild has a child load a store, kills it with SIGKILL, and returns what it
// said.
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
	_ = child.Wait() // that it was killed
	if err != nil {
		return said, fmt.Errorf("%s: the child that loads it ended early: %w", l.Engine, errors.Join(err, killed))
	}
	return said, errors.Join(killed, json.Unmarshal(line, &said))
}
