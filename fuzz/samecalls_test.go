package fuzz

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mmapkv/mmapkv/internal/transcript"
)

var (
	recordCalls = flag.Bool("samecalls.record", false, "TestSameCallsAsRecorded records the calls instead of comparing them")
	callsDir    = flag.String("samecalls.dir", "", "a directory where TestSameCallsAsRecorded writes the calls of each seed, one a line")
)

// recordedCalls has a line for each seed: its name, the hash of its calls, and their number.
const recordedCalls = "testdata/samecalls.txt"

// TestSameCallsAsRecorded checks that a refactored store makes the same file calls as before,
// with the same arguments and in the same order. It runs scripts of the other benches, which
// reach every package of the store. The test runs the background steps itself, so equal code
// makes equal calls.
//
// A change that intends to make other calls records them again, in its own commit:
//
//	go test ./fuzz -run SameCallsAsRecorded -samecalls.record
func TestSameCallsAsRecorded(t *testing.T) {
	collectSeldom(t)
	recorded, seeds := readCalls(t), 0
	seen := &callSums{sums: map[string]string{}}
	for _, script := range callScripts {
		seeds += script.seeds
		t.Run(script.name, func(t *testing.T) {
			for seed := 0; seed < script.seeds; seed += sampleOneIn {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					t.Parallel()
					name := fmt.Sprint(script.name, " ", seed)
					sum := sumCalls(t, uint64(seed), script.run)
					seen.add(name, sum)
					if !*recordCalls && recorded[name] != sum {
						t.Errorf("the file calls differ from the recorded ones: %s, want %s\n%s", sum, recorded[name], howToCompare(t))
					}
				})
			}
		})
	}
	switch {
	case !*recordCalls:
		if len(recorded) != seeds {
			t.Errorf("%d of %d seeds are recorded", len(recorded), seeds)
		}
	case t.Failed() || len(seen.sums) != seeds:
		t.Errorf("nothing was recorded: %d of %d seeds were run", len(seen.sums), seeds)
	default:
		writeCalls(t, seen.sums)
	}
	distinct := map[string]bool{}
	for _, sum := range seen.sums {
		distinct[sum] = true
	}
	if len(distinct) != len(seen.sums) {
		t.Errorf("%d seeds make only %d different runs", len(seen.sums), len(distinct))
	}
}

// sumCalls runs a script and returns what its line in the record should say. With
// -samecalls.dir it also writes the calls to a file.
func sumCalls(t *testing.T, seed uint64, run func(*caller)) string {
	c := &caller{t: t, seed: seed}
	if *callsDir == "" {
		c.calls = transcript.New(nil)
		run(c)
		return c.sum()
	}
	f, err := os.Create(filepath.Join(*callsDir, callsFile(t)))
	if err != nil {
		t.Fatal(err)
	}
	to := bufio.NewWriter(f)
	c.calls = transcript.New(to)
	run(c)
	if err := errors.Join(to.Flush(), f.Close(), c.calls.Err()); err != nil {
		t.Fatal(err)
	}
	return c.sum()
}

func (c *caller) sum() string { return fmt.Sprint(c.calls.Sum(), " ", c.calls.Calls()) }

// callsFile returns the name of the file for the calls of a seed.
func callsFile(t *testing.T) string {
	_, seed, _ := strings.Cut(t.Name(), "/")
	return strings.ReplaceAll(seed, "/", "-") + ".calls"
}

// howToCompare says how to find the first call that differs.
func howToCompare(t *testing.T) string {
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	return fmt.Sprintf("to find the first call that differs, run this here with DIR=/tmp/after, and at the commit before with DIR=/tmp/before:\n"+
		"\tmkdir -p $DIR; go test ./fuzz -run '%s' -samecalls.dir=$DIR\n"+
		"\tdiff /tmp/before/%[2]s /tmp/after/%[2]s | head", pattern, callsFile(t))
}

// callSums collects the sums of the seeds.
type callSums struct {
	mu   sync.Mutex // guards sums
	sums map[string]string
}

func (c *callSums) add(name, sum string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sums[name] = sum
}

// readCalls reads the record, which may be missing while recording.
func readCalls(t *testing.T) map[string]string {
	content, err := os.ReadFile(recordedCalls)
	if err != nil && !*recordCalls {
		t.Fatal(err)
	}
	recorded := map[string]string{}
	for line := range strings.Lines(string(content)) {
		kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		seed, sum, _ := strings.Cut(rest, " ")
		recorded[kind+" "+seed] = sum
	}
	return recorded
}

func writeCalls(t *testing.T, recorded map[string]string) {
	var lines []string
	for name, sum := range recorded {
		lines = append(lines, name+" "+sum+"\n")
	}
	slices.Sort(lines)
	if err := os.WriteFile(recordedCalls, []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
}
