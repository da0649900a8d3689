//go:build linux

package realdisk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// A writer is a process that runs a script and tells its parent, in one byte for each call, how
// the call went. The parent draws the same script, so it knows which writes were acknowledged,
// however the writer ends.

// The bytes of a writer.
const (
	acknowledged = 'a' // the call returned nil
	refused      = 'r' // the call failed, but the store still works
	failed       = 'f' // ErrFailed; the writer's last byte
)

// writerVariable makes the test binary a writer. Its value is the order.
const writerVariable = "MMAPKV_REALDISK_WRITER"

// order is what a writer has to do: open the store, perform actions, and close it, Sessions
// times.
type order struct {
	Dir      string
	Seed     uint64
	Number   uint64 // of the script
	Hour     int64  // of the clock
	Policy   string // with the smallest segments; "": drawn
	ByHand   bool
	Sessions int
	Actions  int           // in each session
	Abrupt   bool          // without Close
	Errno    syscall.Errno // the only error that may occur; 0: none
	Prepared int           // number of actions of script 0 that made the store; -1: unknown
}

func (o *order) script() (*script, mmapkv.Options) {
	s := newScript(o.Seed, o.Number, o.Hour)
	options := s.draw()
	if o.Policy != "" {
		var err error
		if options.Sync, err = fsync.ParsePolicy(o.Policy); err != nil {
			panic(err)
		}
		options.SegmentSize = 4 << 10
	}
	return s, options
}

// start runs the writer, under another program if by names one. reader gets what the writer
// tells. The writer dies with the thread that starts it.
func (o *order) start(t *testing.T, by ...string) (c *exec.Cmd, reader *os.File) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	// The executable's name may be hidden below a mount.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	by = append(by, "/proc/self/fd/4")
	c = exec.Command(by[0], by[1:]...)
	// By default the race detector waits a second at exit.
	c.Env = append(os.Environ(), writerVariable+"="+string(text), "GORACE=atexit_sleep_ms=0")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.ExtraFiles = []*os.File{writer, self}
	c.Stderr = new(bytes.Buffer)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, reader
}

func TestMain(m *testing.M) {
	if text := os.Getenv(writerVariable); text != "" {
		var w writer
		if err := json.Unmarshal([]byte(text), &w.order); err != nil {
			panic(err)
		}
		w.run()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writer is the child.
type writer struct {
	order
	script  *script
	options mmapkv.Options
	program *program
	oracle  *oracle.Oracle // nil: the store's content is unknown
}

// told takes the bytes for the parent.
var told = os.NewFile(3, "told")

func (w *writer) run() {
	// strace counts calls per thread.
	runtime.LockOSThread()
	w.script, w.options = w.order.script()
	if w.Prepared >= 0 {
		state, _ := prepared(w.Seed, w.Prepared)
		w.oracle = oracle.New(state)
	}
	for range w.Sessions {
		w.session()
	}
}

// prepared returns the state after the first actions of script 0, and the hour.
func prepared(seed uint64, actions int) (oracle.State, int64) {
	o := order{Seed: seed}
	s, _ := o.script()
	state := oracle.State{}
	for range actions {
		state.Apply(s.next().ops)
	}
	return state, s.hour
}

func (w *writer) session() {
	var err error
	if w.program, err = openProgram(w.Dir, w.options, w.script.hour, w.ByHand); w.tell(err) != nil {
		return
	}
	w.compare()
	for range w.Actions {
		a := w.script.next()
		err := w.program.do(a)
		if err == nil && w.oracle != nil && a.ops != nil {
			w.oracle.Begin(a.ops)
			w.oracle.Acknowledge()
		}
		if errors.Is(err, mmapkv.ErrFailed) {
			w.afterFailure()
		}
		_ = w.tell(err)
	}
	w.compare()
	if !w.Abrupt {
		_ = w.tell(w.program.Close())
	}
}

// tell tells the parent what a call returned.
func (w *writer) tell(err error) error {
	what := byte(acknowledged)
	switch {
	case errors.Is(err, mmapkv.ErrFailed):
		what = failed
	case err != nil:
		what = refused
	}
	if err != nil && (w.Errno == 0 || !errors.Is(err, w.Errno)) {
		w.give("an error that the test did not cause: %v", err)
	}
	if _, err := told.Write([]byte{what}); err != nil {
		os.Exit(1) // the parent is gone
	}
	if what == failed {
		os.Exit(0)
	}
	return err
}

// give gives up: it ends the writer and prints the reason.
func (w *writer) give(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(3)
}

// compare checks that the store shows exactly what was acknowledged.
func (w *writer) compare() {
	if w.oracle == nil {
		return
	}
	shown, err := w.program.content()
	if err != nil {
		w.give("%v", err)
	}
	want := w.oracle.Current().Visible(w.script.hour * hourMillis)
	if !maps.Equal(shown, want) {
		w.give("the store shows %.2000q, want %.2000q", shown, want)
	}
}

// afterFailure checks that the store refuses writes, and that reads still work.
func (w *writer) afterFailure() {
	batch := new(mmapkv.Batch)
	batch.Put([]byte("key 1"), nil)
	for what, err := range map[string]error{
		"Put":    w.program.Put([]byte("key 0"), []byte("later")),
		"Write":  w.program.Write(batch),
		"Delete": w.program.Delete([]byte("key 2")),
		"Stats":  w.program.Stats().Err,
	} {
		if !errors.Is(err, mmapkv.ErrFailed) || !errors.Is(err, w.Errno) {
			w.give("%s after a failure: %v", what, err)
		}
	}
	w.compare()
}

// follow updates the oracle with what a writer told, and returns the hour that its clock may
// have reached.
func (o *order) follow(known *oracle.Oracle, told []byte) (hour int64, err error) {
	s, _ := o.script()
	for range o.Sessions {
		if len(told) == 0 {
			return s.hour, nil
		}
		opened := told[0] == acknowledged
		if told = told[1:]; !opened {
			continue
		}
		for range o.Actions {
			a := s.next()
			if a.ops != nil {
				known.Begin(a.ops)
			}
			if len(told) == 0 || told[0] == failed {
				return s.hour, nil
			}
			switch {
			case a.ops == nil:
			case told[0] == acknowledged:
				known.Acknowledge()
			default:
				known.Refuse()
			}
			told = told[1:]
		}
		if len(told) > 0 && !o.Abrupt {
			told = told[1:]
		}
	}
	if len(told) > 0 {
		return 0, fmt.Errorf("the writer told %d bytes too many", len(told))
	}
	return s.hour, nil
}
