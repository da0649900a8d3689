// Command coverage runs the tests of the engine and prints what they do not cover. It fails
// when they run less than nine in ten of a package's statements, or when they take all but more
// than maxOpen of the places that handle an error. The list of exceptions says why tests cannot
// take some places. The command prints every place that no test takes.
//
//	go run ./fuzz/coverage
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// minPercent is how many of a package's statements must be run, in percent.
const minPercent = 90

// maxOpen is how many places that handle an error may be taken by no test, beside
// the exceptions. Chance decides of some of them. It only ever becomes less.
const maxOpen = 3

// patterns name the packages to cover: all rooms of the store, what comes next, and the
// ground. The command runs their own tests, the conformance suite of disks, and the benches
// below from package fuzz.
var patterns = []string{"./mmapkv/...", "./segment", "./index", "./fsync", "./internal/vfs"}

// packages are their folders. run fills the list.
var packages []string

const benches = "TestVerify|TestEveryCallOfVerifyFails|TestSalvage|TestEveryCallFails|TestEveryCallOfRecoveryFails|TestDiskFull|TestDamageIsLocalAndReported|Fuzz"

func main() {
	keep := flag.String("keep", "", "a directory to keep the cover profiles in; empty: remove them")
	flag.Parse()
	ok, err := run(*keep)
	if err != nil {
		fmt.Println(err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run runs the tests and prints what they do not cover.
func run(keep string) (ok bool, err error) {
	began := time.Now()
	dir := keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "coverage"); err != nil {
			return false, err
		}
		defer os.RemoveAll(dir)
	}
	if packages, err = list(); err != nil {
		return false, err
	}
	profiles, err := runTests(dir)
	if err != nil {
		return false, err
	}
	blocks := profile{}
	for _, name := range profiles {
		if err := blocks.read(name); err != nil {
			return false, err
		}
	}
	ok = true
	for _, p := range packages {
		percent := blocks.percent(p)
		fmt.Printf("%-24s %5.1f%% of the statements\n", p, percent)
		ok = ok && percent >= minPercent
	}
	places, err := errorPlaces(blocks)
	if err != nil {
		return false, err
	}
	ok = report(places) && ok
	fmt.Printf("%v\n", time.Since(began).Round(time.Second))
	return ok, nil
}

// list lists the folders of the packages to cover.
func list() (folders []string, err error) {
	out, err := exec.Command("go", append([]string{"list"}, patterns...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		folders = append(folders, strings.TrimPrefix(path, "github.com/mmapkv/mmapkv/"))
	}
	return folders, nil
}

// runTests runs the tests and returns the names of their cover profiles.
func runTests(dir string) (profiles []string, err error) {
	var own, covered []string
	for _, p := range packages {
		own = append(own, "./"+p)
	}
	covered = append(covered, "-covermode=set", "-coverpkg="+strings.Join(own, ","))
	for name, args := range map[string][]string{
		"own":     append(own, "./internal/vfs/vfstest"),
		"benches": {"./fuzz", "-run=" + benches},
		"salvage": {"./fuzz", "-run=TestSalvageWhileCallsFail", "-fault.step=1"},
	} {
		profile := filepath.Join(dir, name+".cover")
		test := exec.Command("go", append(append([]string{"test", "-coverprofile=" + profile}, covered...), args...)...)
		if out, err := test.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("the tests fail: %w\n%s", err, out)
		}
		profiles = append(profiles, profile)
	}
	return profiles, nil
}

// report prints the places that no test takes. It reports whether at most maxOpen of them are
// not exceptions, and all exceptions are still needed.
func report(places []place) (ok bool) {
	taken, open := 0, 0
	ok = true
	used := map[string]bool{}
	for _, p := range places {
		if p.taken {
			taken++
			continue
		}
		if reason := exceptions[p.key()]; reason != "" {
			used[p.key()] = true
			fmt.Printf("%s:%d: an exception: %s\n", p.file, p.line, reason)
			continue
		}
		open++
		fmt.Printf("%s:%d: no test takes this: %s\n", p.file, p.line, p.key())
	}
	for key := range exceptions {
		if !used[key] {
			fmt.Printf("no longer an exception: %s\n", key)
			ok = false
		}
	}
	fmt.Printf("tests take %d of %d places that handle an error\n", taken, len(places))
	return ok && open <= maxOpen
}
