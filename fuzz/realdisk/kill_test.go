//go:build linux

package realdisk

import (
	"errors"
	"flag"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
)

var (
	kills    = flag.Int("kill.rounds", 20, "how often TestKillLoop kills its writer")
	killSeed = flag.Uint64("kill.seed", 0, "the seed of what is written; 0 draws one; it does not fix the moments of the kills")
)

// TestKillLoop kills a writer again and again, at any moment from its recovery on. The store
// shows what was acknowledged, and the last action whole or not at all.
func TestKillLoop(t *testing.T) {
	if !alone(t) {
		return
	}
	seed := *killSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; to repeat: go test ./fuzz/realdisk -run %s -kill.seed=%d -kill.rounds=%d", seed, t.Name(), seed, *kills)
	k := &killer{t: t, dir: filepath.Join(t.TempDir(), "store"), seed: seed, state: oracle.State{}}
	began := time.Now()
	for k.rounds < *kills {
		k.round()
	}
	t.Logf("%d kills in %.1f s, %d of them in an open; %d actions acknowledged; %d recoveries, of %d records; %d actions in doubt survived",
		k.rounds, time.Since(began).Seconds(), k.opens, k.acknowledged, k.recoveries, k.records, k.there)
	if *kills >= 100 && (k.opens == 0 || k.recoveries == 0 || k.there == 0) {
		t.Error("something never happened")
	}
}

// killer is the parent of the writers of one store.
type killer struct {
	t     *testing.T
	dir   string
	seed  uint64
	hour  int64
	state oracle.State // of the store

	rounds, opens, acknowledged, recoveries, records, there int
}

// round kills one writer, and checks what it leaves.
func (k *killer) round() {
	o := &order{Dir: k.dir, Seed: k.seed, Number: uint64(k.rounds), Hour: k.hour, Sessions: 1, Actions: 1 << 30, Prepared: -1}
	told := o.kill(k.t)
	if len(told) == 0 {
		k.opens++
	} else {
		k.acknowledged += len(told) - 1
	}
	known := oracle.New(k.state)
	var err error
	if k.hour, err = o.follow(known, told); err != nil {
		k.t.Fatalf("round %d: %v", k.rounds, err)
	}
	k.check(known)
	k.rounds++
}

// kill runs the writer for a while and returns what it told. In one of four cases it runs no
// longer than an open may take.
func (o *order) kill(t *testing.T) (told []byte) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, reader := o.start(t)
	defer reader.Close()
	wait := time.Duration(rand.IntN(10_000)) * time.Microsecond
	if rand.IntN(4) > 0 {
		wait *= 3
		told = make([]byte, 1)
		n, _ := reader.Read(told)
		told = told[:n]
	}
	time.AfterFunc(wait, func() { child.Process.Kill() })
	rest, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("writer %d ended by itself: %v\n%s", o.Number, err, child.Stderr)
	}
	return append(told, rest...)
}

// check opens the store and lets the oracle judge it. Half of the time it opens it read-only,
// so that the next writer has to recover it, and may be killed during recovery.
func (k *killer) check(known *oracle.Oracle) {
	k.t.Helper()
	options := mmapkv.Options{ReadOnly: rand.IntN(2) == 0}
	if _, err := os.Stat(k.dir); os.IsNotExist(err) {
		return // killed before it created anything
	}
	p, err := openProgram(k.dir, options, k.hour, false)
	if options.ReadOnly && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		k.t.Fatalf("round %d: Open: %v", k.rounds, err)
	}
	recovery := p.Stats().Recovery
	if len(recovery.Damages) > 0 {
		k.t.Fatalf("round %d: Open reports damage: %v", k.rounds, recovery.Damages)
	}
	if !recovery.Clean {
		k.recoveries++
		k.records += recovery.RecordsScanned
	}
	shown, err := p.content()
	if err != nil {
		k.t.Fatalf("round %d: %v", k.rounds, err)
	}
	now := k.hour * hourMillis
	acknowledged := known.Current().Visible(now)
	if k.state, err = known.CheckKill(shown, now); err != nil {
		k.t.Fatalf("round %d: %v", k.rounds, err)
	}
	if !maps.Equal(acknowledged, shown) {
		k.there++
	}
	if err := p.Close(); err != nil {
		k.t.Fatalf("round %d: Close: %v", k.rounds, err)
	}
}
