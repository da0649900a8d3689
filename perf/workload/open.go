package workload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// disk closes the store, since an open one may have preallocated space.
func (s *session) disk() error {
	if s.engine.Survives == Nothing {
		return nil
	}
	if err := s.close(); err != nil {
		return err
	}
	files, err := rig.Allocated(s.dir)
	if err != nil {
		return err
	}
	var total, hints float64
	for name, bytes := range files {
		total += float64(bytes)
		if filepath.Ext(name) == ".hint" {
			hints += float64(bytes)
		}
	}
	user := float64(s.Bytes(s.Keys))
	s.emit(Result{Workload: "disk", Engine: s.engine.Name, Figures: []Figure{
		{"all", total / user, "x user bytes"}, {"without hints", (total - hints) / user, "x user bytes"},
	}})
	return s.open(s.engine.Open)
}

func (s *session) openClosed() error {
	if err := s.close(); err != nil {
		return err
	}
	r, err := s.timeOpen("open", s.dir)
	if err == nil {
		s.emit(r)
	}
	return err
}

// timeOpen opens a store and reads some of its keys. The result is the time until all
// of the store is in memory.
func (s *session) timeOpen(name, dir string) (Result, error) {
	runtime.GC()
	r := s.newReader(s.uniform(0))
	began, processor := time.Now(), rig.ProcessorTime()
	store, err := s.engine.Open(dir)
	if err != nil {
		return Result{}, err
	}
	opened := time.Since(began)
	s.store, r.store = store, store
	if err := r.view(); err != nil {
		return Result{}, err
	}
	read := time.Since(began)
	if err := s.ready(); err != nil {
		return Result{}, err
	}
	took, worked := time.Since(began), rig.ProcessorTime()-processor
	for range min(s.Keys, 1000) {
		if err := r.view(); err != nil {
			return Result{}, err
		}
	}
	return Result{
		Workload: name, Engine: s.engine.Name, Goroutines: 1, Operations: s.Keys, Took: took, Processor: worked,
		Figures: []Figure{{"opened after", milliseconds(opened), "ms"}, {"first value after", milliseconds(read), "ms"}, {"ready after", milliseconds(took), "ms"}},
	}, nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// ready returns when all of the store is in memory.
func (s *session) ready() error {
	if store, ok := s.store.(Loading); ok {
		return store.Ready(s.ctx)
	}
	return nil
}

// openKilled opens a store that another process loaded before it was killed.
func (s *session) openKilled() error {
	if err := s.close(); err != nil {
		return err
	}
	err := rig.InFreshDir(filepath.Dir(s.dir), func(dir string) (err error) {
		if err := loadAndKill(s.ctx, order{s.engine.Name, dir, s.Data}); err != nil {
			return err
		}
		r, err := s.timeOpen("open-killed", dir)
		if err == nil {
			s.emit(r)
		}
		return errors.Join(err, s.close())
	})
	return errors.Join(err, s.open(s.engine.Open))
}

// orderName is the environment variable that makes a process a child.
const orderName = "MMAPKV_PERF_LOAD"

// order says what a child does.
type order struct {
	Engine, Dir string
	Data        Data
}

// loaded is what the child prints when it is done.
const loaded = "loaded"

// Child does nothing in an ordinary process. In a child process that open-killed has
// started, it loads a store, waits for SIGKILL and never returns. The main function
// of a program that runs open-killed calls it first, with all its engines.
func Child(engines []Engine) {
	encoded, set := os.LookupEnv(orderName)
	if !set {
		return
	}
	err := obey(encoded, engines)
	fmt.Fprintln(os.Stderr, "the child:", err)
	os.Exit(1)
}

func obey(encoded string, engines []Engine) error {
	var o order
	if err := json.Unmarshal([]byte(encoded), &o); err != nil {
		return err
	}
	for _, e := range engines {
		if e.Name != o.Engine {
			continue
		}
		s := &session{Config: Config{Data: o.Data}, ctx: context.Background(), engine: e, dir: o.Dir}
		s.selected = func(string) bool { return false }
		if err := errors.Join(s.open(e.Open), s.load()); err != nil {
			return err
		}
		fmt.Println(loaded)
		_, err := io.Copy(io.Discard, os.Stdin) // until it is killed, or its parent ends
		return errors.Join(err, s.close())
	}
	return fmt.Errorf("there is no engine %q", o.Engine)
}

func loadAndKill(ctx context.Context, o order) error {
	encoded, err := json.Marshal(o)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, self)
	c.Env, c.Stderr = append(os.Environ(), orderName+"="+string(encoded)), os.Stderr
	if _, err := c.StdinPipe(); err != nil { // Wait closes it
		return err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	killed := c.Process.Kill()
	_ = c.Wait() // it was killed
	if line != loaded+"\n" {
		return fmt.Errorf("workload: the process that loads a store printed %q", line)
	}
	return killed
}

// coldReads is how many cold reads are enough.
const coldReads = 20_000

func (s *session) cold() error {
	if !rig.CanEvict {
		return nil
	}
	if err := s.close(); err != nil {
		return err
	}
	if err := rig.Evict(s.dir); err != nil {
		return err
	}
	if err := s.open(s.engine.Open); err != nil {
		return err
	}
	return s.report(task{name: "cold", goroutines: 1, operations: min(coldReads, s.Operations), timed: true, prepare: func(g int) func() (int, error) {
		return one(s.newReader(uniform(s.Keys, s.Seed+1, g)).view)
	}})
}
