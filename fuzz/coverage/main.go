// Command coverage runs the tests of the engine and says what they leave out. It
// fails when a package has less than nine in ten of its statements run, and when
// more places that handle an error than stillOpen are taken by no test; the list of
// exceptions says why some cannot be. It prints them all.
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

// least is the part of a package's statements that has to be run, in percent.
const least = 90

// stillOpen is how many places that handle an error may be taken by no test, beside
// the exceptions. Chance decides of some of them. It only ever becomes less.
const stillOpen = 3

// packages are what is to be covered. Their own tests run, those of the conformance
// suite of disks, and the benches of package fuzz that follow.
var packages = []string{"mmapkv", "mmapkv/internal/replay", "segment", "index", "fsync", "internal/vfs"}

const benches = "TestVerify|TestEveryCallOfVerifyFails|TestSalvage|TestEveryCallFails|TestEveryCallOfRecoveryFails|TestDiskFull|TestDamageIsLocalAndReported|Fuzz"

func main() {
	keep := flag.String("keep", "", "a directory for the cover profiles, which would otherwise be removed")
	flag.Parse()
	ok, err := run(*keep)
	if err != nil {
		fmt.Println(err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run runs the tests, reads what they cover, and prints what they do not.
func run(keep string) (ok bool, err error) {
	began := time.Now()
	dir := keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "coverage"); err != nil {
			return false, err
		}
		defer os.RemoveAll(dir)
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
		fmt.Printf("%-22s %5.1f%% of the statements\n", p, percent)
		ok = ok && percent >= least
	}
	places, err := errorPlaces(blocks)
	if err != nil {
		return false, err
	}
	ok = report(places) && ok
	fmt.Printf("%v\n", time.Since(began).Round(time.Second))
	return ok, nil
}

// runTests runs the tests and returns where their cover profiles are.
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

// report prints the places that no test takes, and says whether all of them are
// exceptions.
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
			fmt.Printf("not an exception any more: %s\n", key)
			ok = false
		}
	}
	fmt.Printf("%d of %d places that handle an error are taken\n", taken, len(places))
	return ok && open <= stillOpen
}
