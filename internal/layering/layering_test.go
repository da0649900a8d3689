// Package layering checks that imports go down only.
package layering

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mmapkv/mmapkv"

// allowed lists what each room's library code may import of the module. A room
// that is not listed may be imported by nobody.
var allowed = map[string][]string{
	"mmapkv":             {"segment", "index", "fsync", "internal/vfs", "internal/guard", "internal/invariant", "internal/inject"},
	"segment":            {"internal/vfs", "internal/invariant"},
	"index":              {"internal/invariant"},
	"fsync":              {"internal/vfs", "internal/invariant"},
	"internal/vfs":       {},
	"internal/guard":     {},
	"internal/invariant": {},
	"internal/inject":    {"internal/vfs"},
	"internal/forgetful": {"internal/vfs"},
	"internal/faulty":    {"internal/vfs"},
	"internal/oracle":    {},
}

// outside is what the library may import that is neither its own nor the
// standard library's.
var outside = []string{"golang.org/x/sys/", "github.com/edsrzf/mmap-go", "github.com/puzpuzpuz/xsync/v3", "github.com/klauspost/cpuid/v2"}

type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,Deps"}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var packages []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	return packages
}

func TestImportsGoDownOnly(t *testing.T) {
	checked := 0
	for _, p := range list(t, module+"/...") {
		room := strings.TrimPrefix(p.ImportPath, module+"/")
		below, listed := allowed[room]
		for _, path := range p.Imports {
			other, ours := strings.CutPrefix(path, module+"/")
			switch {
			case !ours:
			case strings.HasPrefix(other, "cmd/") || strings.HasPrefix(other, "perf") && !strings.HasPrefix(room, "perf") || strings.HasPrefix(other, "fuzz"):
				t.Errorf("%s imports %s, which nothing may import", room, other)
			case listed && !slices.Contains(below, other):
				t.Errorf("%s imports %s", room, other)
			}
		}
		if listed {
			checked++
		}
	}
	if checked < 8 {
		t.Errorf("only %d rooms were found", checked)
	}
}

func TestLibraryImportsFourModules(t *testing.T) {
	deps := list(t, "-deps", module+"/mmapkv")
	if len(deps) < 20 {
		t.Fatalf("only %d packages", len(deps))
	}
	for _, p := range deps {
		if p.Standard || strings.HasPrefix(p.ImportPath, module+"/") {
			continue
		}
		if !slices.ContainsFunc(outside, func(prefix string) bool { return strings.HasPrefix(p.ImportPath, prefix) }) {
			t.Errorf("the library imports %s", p.ImportPath)
		}
	}
}
