package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A mutant that no longer applies tests nothing.
func TestEveryMutantAppliesOnce(t *testing.T) {
	names := map[string]bool{}
	for _, suite := range suites {
		for _, m := range suite.mutants {
			// Several suites may have to catch the same mutant.
			if name := suite.dir + " " + suite.test + " " + m.name; names[name] {
				t.Errorf("two mutants are called %q", name)
			} else {
				names[name] = true
			}
			source, err := os.ReadFile(filepath.Join("..", "..", m.file))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), m.search); n != 1 {
				t.Errorf("%q applies %d times to %s", m.name, n, m.file)
			}
			if m.search == m.replace {
				t.Errorf("%q changes nothing", m.name)
			}
		}
	}
}
