//go:build !race

package mmapkv

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// footprint counts this process's mappings and descriptors of files in a store's
// directory. Each listed file may have one of both, which is subtracted.
type footprint struct {
	mapped, open int // files of the directory, less the listed ones
	deleted      int // mappings and descriptors of unlinked files
}

func footprintOf(t *testing.T, s *Store, dir string) footprint {
	t.Helper()
	listed := len(s.Stats().Segments)
	f := footprint{mapped: -listed, open: -listed}
	count := func(name string, n *int) {
		if !strings.Contains(name, dir) {
			return
		}
		*n++
		if strings.HasSuffix(name, "(deleted)") {
			f.deleted++
		}
	}
	for _, line := range mappings(t) {
		count(line, &f.mapped)
	}
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		target, err := os.Readlink(name)
		if err == nil { // Glob's own descriptor is closed by now
			count(target, &f.open)
		}
	}
	return f
}

func mappings(t *testing.T) (lines []string) {
	t.Helper()
	content, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for scanner := bufio.NewScanner(bytes.NewReader(content)); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	return lines
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// runtimeMappings is how many mappings the Go runtime may add during a test.
const runtimeMappings = 16

func TestCompactionsLeaveNothingInTheProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fillWithChurn(t, s, smallSize)
	compactAll(t, s)
	wantNothingHeld(t, s)
	skipQuarantine(t)
	before, mapped, opened := footprintOf(t, s, dir), len(mappings(t)), descriptors(t)-len(s.Stats().Segments)
	if before.mapped != 0 || before.deleted != 0 {
		t.Errorf("before: %+v", before)
	}
	round := 2
	for range 10 {
		readers := sitDown(t, s)
		for range 10 {
			churn(t, s, round)
			compactAll(t, s)
			round++
		}
		if f := footprintOf(t, s, dir); f.deleted == 0 {
			t.Errorf("with %d readers inside: %+v", len(readers), f)
		}
		waitFor(t, "what no reader holds to be released", func() bool {
			f := footprintOf(t, s, dir)
			return f.mapped+f.open <= before.open+4*len(readers)
		})
		standUp(t, readers)
		wantNothingHeld(t, s)
	}
	skipQuarantine(t)
	if after := footprintOf(t, s, dir); after != before {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if after := len(mappings(t)); after > mapped+runtimeMappings {
		t.Errorf("%d mappings before, %d after %d compactions", mapped, after, s.Stats().Compaction.Runs)
	}
	// A goroutine that has just stepped aside closes its timer when it goes idle.
	waitFor(t, fmt.Sprintf("%d descriptors, as before", opened), func() bool {
		return descriptors(t)-len(s.Stats().Segments) <= opened
	})
}

// TestCompactLeavesNoTimer ensures that Compact closes the timer with which it gave way while it sealed the
// tail, although the goroutine that usually seals has nothing to do. On one processor it always gives way.
func TestCompactLeavesNoTimer(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := open(t, t.TempDir(), byHand())
	fillWithChurn(t, s, smallSize)
	compactAll(t, s)
	timers := func() (n int) {
		names, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if target, err := os.Readlink(name); err == nil && strings.Contains(target, "timerfd") {
				n++
			}
		}
		return n
	}
	for round := 2; round < 30; round++ {
		churn(t, s, round)
		compactAll(t, s)
		waitFor(t, "all timers to be closed", func() bool { return timers() == 0 })
	}
}
