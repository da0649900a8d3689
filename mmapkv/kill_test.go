package mmapkv

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
)

// childVariable turns the test binary into the writer to kill. Its value is the
// policy, the directory and the first number.
const childVariable = "MMAPKV_TEST_CHILD"

// killBatch is the number of pairs in each batch of the child.
const killBatch = 5

// runChild writes until it is killed and prints each acknowledged write:
// "p N" for a put, "b N" for a batch. Each number is written once.
func runChild() {
	name, rest, _ := strings.Cut(os.Getenv(childVariable), " ")
	dir, first, _ := strings.Cut(rest, " ")
	policy, err := fsync.ParsePolicy(name)
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	check(err)
	s, err := Open(dir, &Options{SegmentSize: 16 << 10, Sync: policy})
	check(err)
	n, err := strconv.Atoi(first)
	check(err)
	for ; ; n++ {
		key, value := numbered(n, 100)
		check(s.Put(key, value))
		fmt.Println("p", n)
		var b Batch
		for i := range killBatch {
			b.Put(fmt.Appendf(nil, "batch-%d-%d", n, i), value)
		}
		check(s.Write(&b))
		fmt.Println("b", n)
	}
}

// TestSIGKILL kills a writing process again and again. Its acknowledged writes are
// there, and its batches are whole.
func TestSIGKILL(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 5
	}
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(20 * time.Millisecond), fsync.Never} {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			next := 0
			for range rounds {
				next = killOnce(t, dir, policy, next)
			}
			if next < rounds {
				t.Errorf("only %d writes in %d rounds", next, rounds)
			}
			s := open(t, dir, &Options{SegmentSize: 16 << 10, Compaction: Compaction{Disabled: true}})
			if files, listed := len(segmentFiles(t, dir)), len(s.Stats().Segments); files != listed {
				t.Errorf("%d segment files are left, and %d are listed", files, listed)
			}
		})
	}
}

func killOnce(t *testing.T, dir string, policy fsync.Policy, first int) (next int) {
	child := exec.Command(os.Args[0], "-test.run=^$")
	name := policy.String()
	if policy.Interval() > 0 {
		name = policy.Interval().String()
	}
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", childVariable, name, dir, first))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	wait := time.Duration(rand.IntN(12_000)) * time.Microsecond
	reader := bufio.NewReader(out)
	next = first
	putAcked, batchAcked := first-1, first-1
	started := false
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			break
		}
		if !started {
			started = true
			time.AfterFunc(wait, func() { child.Process.Kill() })
		}
		n, err := strconv.Atoi(strings.TrimSpace(line[2:]))
		if err != nil {
			break // a line cut short
		}
		if line[0] == 'p' {
			putAcked = n
		} else {
			batchAcked = n
		}
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended by itself: %v", err)
	}
	checkKilled(t, dir, first, putAcked, batchAcked)
	return putAcked + 2 // the write in flight may be there
}

func checkKilled(t *testing.T, dir string, first, putAcked, batchAcked int) {
	t.Helper()
	s := open(t, dir, &Options{SegmentSize: 16 << 10})
	defer s.Close()
	if d := s.Stats().Recovery.Damages; len(d) > 0 {
		t.Fatalf("damage after SIGKILL: %v", d)
	}
	wantFilled(t, s, first, putAcked+1, 100)
	for n := first; n <= putAcked+1; n++ {
		_, value := numbered(n, 100)
		there := 0
		for i := range killBatch {
			got, err := s.Get(fmt.Appendf(nil, "batch-%d-%d", n, i))
			switch {
			case err == nil && string(got) == string(value):
				there++
			case !errors.Is(err, ErrNotFound):
				t.Fatalf("batch %d: %q, %v", n, got, err)
			}
		}
		if n <= batchAcked && there != killBatch || there != 0 && there != killBatch {
			t.Fatalf("%d of %d pairs of batch %d, acknowledged up to %d", there, killBatch, n, batchAcked)
		}
	}
}
