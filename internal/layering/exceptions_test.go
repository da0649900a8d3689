package layering

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var shrink = flag.Bool("layering.shrink", false, "lower the exceptions to the present sizes, and drop those that are no longer needed")

// exceptionsFile has a line for each thing that exceeds its limit: its kind, its name, and its
// allowed size. Only a manual edit raises an allowed size.
const exceptionsFile = "testdata/exceptions.txt"

// rule is a limit with its exceptions.
type rule struct {
	t          *testing.T
	kind       string
	limit      int
	exceptions map[string]int
	needed     map[string]int // exceptions in use, with their present sizes
}

func newRule(t *testing.T, kind string, limit int) *rule {
	return &rule{t: t, kind: kind, limit: limit, exceptions: readExceptions(t)[kind], needed: map[string]int{}}
}

// checkOne checks a rule about one thing.
func checkOne(t *testing.T, kind string, limit int, name string, size int) {
	r := newRule(t, kind, limit)
	r.check(name, size)
	r.end()
}

// check compares a size with the limit, or with its exception.
func (r *rule) check(name string, size int) {
	if size <= r.limit {
		return
	}
	allowed, excepted := r.exceptions[name]
	if excepted {
		r.needed[name] = min(size, allowed)
	}
	if why := tooLarge(size, r.limit, allowed, excepted); why != "" {
		r.t.Errorf("%s %s: %s", r.kind, name, why)
	}
}

// tooLarge returns what is wrong with a size beyond the limit, or "".
func tooLarge(size, limit, allowed int, excepted bool) string {
	switch {
	case !excepted:
		return fmt.Sprintf("%d exceeds the limit of %d", size, limit)
	case size > allowed:
		return fmt.Sprintf("%d exceeds its exception of %d; it may only shrink", size, allowed)
	}
	return ""
}

// end reports exceptions that are no longer needed.
func (r *rule) end() {
	if *shrink {
		writeExceptions(r.t, r.kind, r.needed)
		return
	}
	for _, name := range superfluous(r.exceptions, r.needed) {
		r.t.Errorf("%s %s no longer needs an exception: go test ./internal/layering -layering.shrink", r.kind, name)
	}
}

// superfluous returns the exceptions that are not needed.
func superfluous(exceptions, needed map[string]int) (names []string) {
	for name := range exceptions {
		if _, ok := needed[name]; !ok {
			names = append(names, name)
		}
	}
	return names
}

// readExceptions reads the file: sizes by kind and name.
func readExceptions(t *testing.T) map[string]map[string]int {
	content, err := os.ReadFile(exceptionsFile)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]map[string]int{}
	for text := range strings.Lines(string(content)) {
		var kind, name string
		var size int
		if _, err := fmt.Sscan(text, &kind, &name, &size); err != nil {
			t.Fatalf("%s: %q: %v", exceptionsFile, text, err)
		}
		if sizes[kind] == nil {
			sizes[kind] = map[string]int{}
		}
		sizes[kind][name] = size
	}
	return sizes
}

// writeExceptions replaces the exceptions of one kind.
func writeExceptions(t *testing.T, kind string, sizes map[string]int) {
	all := readExceptions(t)
	all[kind] = sizes
	var lines []string
	for kind, sizes := range all {
		for name, size := range sizes {
			lines = append(lines, fmt.Sprintf("%s %s %d\n", kind, name, size))
		}
	}
	slices.Sort(lines)
	if err := os.WriteFile(exceptionsFile, []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
}
