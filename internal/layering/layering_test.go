package layering

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mmapkv/mmapkv"

// rooms lists which packages of the module each package may import. Tests are exempt.
var rooms = map[string][]string{
	"mmapkv":                    {"mmapkv/internal/alive", "mmapkv/internal/catalog", "mmapkv/internal/check", "mmapkv/internal/compact", "mmapkv/internal/conflict", "mmapkv/internal/failure", "mmapkv/internal/hints", "mmapkv/internal/listing", "mmapkv/internal/load", "mmapkv/internal/order", "mmapkv/internal/pace", "mmapkv/internal/recovery", "mmapkv/internal/reserve", "mmapkv/internal/residency", "mmapkv/internal/salvage", "mmapkv/internal/space", "mmapkv/internal/sweep", "mmapkv/internal/wal", "fsync", "index", "segment", "internal/bulk", "internal/errno", "internal/guard", "internal/inject", "internal/invariant", "internal/nap", "internal/prefetch", "internal/rank", "internal/tick", "internal/vfs"},
	"mmapkv/internal/alive":     {"segment", "internal/prefetch"},
	"mmapkv/internal/catalog":   {"mmapkv/internal/alive", "mmapkv/internal/expiry", "mmapkv/internal/failure", "mmapkv/internal/listing", "mmapkv/internal/patient", "mmapkv/internal/replay", "mmapkv/internal/reserve", "fsync", "index", "segment", "internal/errno", "internal/invariant", "internal/rank", "internal/vfs"},
	"mmapkv/internal/check":     {"mmapkv/internal/failure", "mmapkv/internal/listing", "mmapkv/internal/pace", "mmapkv/internal/patient", "mmapkv/internal/replay", "segment", "internal/errno", "internal/rank", "internal/vfs"},
	"mmapkv/internal/compact":   {"mmapkv/internal/alive", "mmapkv/internal/catalog", "mmapkv/internal/failure", "mmapkv/internal/hints", "mmapkv/internal/pace", "mmapkv/internal/residency", "mmapkv/internal/space", "mmapkv/internal/sweep", "mmapkv/internal/wal", "fsync", "index", "segment", "internal/errno", "internal/invariant", "internal/nap", "internal/prefetch", "internal/rank", "internal/vfs"},
	"mmapkv/internal/conflict":  {"internal/rank"},
	"mmapkv/internal/expiry":    {"segment", "internal/rank"},
	"mmapkv/internal/failure":   {"fsync", "internal/errno"},
	"mmapkv/internal/hints":     {"mmapkv/internal/catalog", "mmapkv/internal/failure", "mmapkv/internal/patient", "fsync", "segment", "internal/errno", "internal/guard", "internal/prefetch", "internal/vfs"},
	"mmapkv/internal/listing":   {"mmapkv/internal/failure", "mmapkv/internal/patient", "segment", "internal/errno", "internal/vfs"},
	"mmapkv/internal/load":      {"mmapkv/internal/catalog", "mmapkv/internal/failure", "mmapkv/internal/hints", "index", "segment", "internal/errno", "internal/nap", "internal/prefetch", "internal/rank"},
	"mmapkv/internal/order":     {"mmapkv/internal/catalog", "mmapkv/internal/failure", "mmapkv/internal/hints", "segment", "internal/errno", "internal/guard", "internal/prefetch", "internal/rank"},
	"mmapkv/internal/pace":      {"mmapkv/internal/failure", "internal/nap", "internal/rank"},
	"mmapkv/internal/patient":   {"internal/errno", "internal/vfs"},
	"mmapkv/internal/recovery":  {"mmapkv/internal/catalog", "mmapkv/internal/failure", "mmapkv/internal/hints", "mmapkv/internal/replay", "mmapkv/internal/reserve", "segment", "internal/bulk", "internal/errno"},
	"mmapkv/internal/replay":    {"segment", "internal/invariant", "internal/prefetch"},
	"mmapkv/internal/reserve":   {"segment", "internal/errno", "internal/rank", "internal/vfs"},
	"mmapkv/internal/residency": {"mmapkv/internal/catalog", "mmapkv/internal/pace", "segment", "internal/nap", "internal/vfs"},
	"mmapkv/internal/salvage":   {"mmapkv/internal/failure", "mmapkv/internal/listing", "mmapkv/internal/patient", "mmapkv/internal/replay", "segment", "internal/errno", "internal/rank", "internal/vfs"},
	"mmapkv/internal/space":     {"mmapkv/internal/catalog", "mmapkv/internal/reserve", "internal/rank"},
	"mmapkv/internal/sweep":     {"mmapkv/internal/catalog", "mmapkv/internal/expiry", "mmapkv/internal/failure", "mmapkv/internal/pace", "index", "segment", "internal/rank"},
	"mmapkv/internal/wal":       {"mmapkv/internal/catalog", "mmapkv/internal/conflict", "mmapkv/internal/failure", "mmapkv/internal/hints", "mmapkv/internal/pace", "mmapkv/internal/residency", "mmapkv/internal/space", "mmapkv/internal/sweep", "fsync", "index", "segment", "internal/bulk", "internal/errno", "internal/invariant", "internal/nap", "internal/prefetch", "internal/rank", "internal/vfs"},
	"segment":                   {"internal/bulk", "internal/errno", "internal/invariant", "internal/prefetch", "internal/vfs"},
	"index":                     {"internal/invariant", "internal/prefetch", "internal/rank"},
	"fsync":                     {"internal/vfs", "internal/invariant", "internal/rank"},
	"internal/vfs":              {},
	"internal/bulk":             {},
	"internal/errno":            {},
	"internal/guard":            {},
	"internal/invariant":        {},
	"internal/inject":           {"internal/vfs"},
	"internal/layering":         {},
	"internal/memgroup":         {},
	"internal/nap":              {},
	"internal/prefetch":         {},
	"internal/rank":             {},
	"internal/tick":             {},
	"internal/crashfs":          {"internal/errno", "internal/rank", "internal/vfs"},
	"internal/errorfs":          {"internal/vfs"},
	"internal/oracle":           {},
	"internal/transcript":       {"internal/errno", "internal/vfs"},
	"internal/vfs/vfstest":      {"internal/vfs"},
}

// drivers are the folders whose packages drive the library. They may import anything but each
// other.
var drivers = []string{"cmd", "fuzz", "perf"}

// outside lists the other modules that the library may import.
var outside = []string{
	"golang.org/x/sys", "github.com/edsrzf/mmap-go", "github.com/puzpuzpuz/xsync/v3",
}

// builds are the ways in which the library is built. Each may add files, and thus imports, that
// the others lack.
var builds = []struct{ system, architecture, tags string }{
	{"linux", "amd64", ""},
	{"linux", "arm64", ""},
	{"linux", "amd64", "race"},
	{"linux", "amd64", "invariants"},
	{"darwin", "arm64", ""},
	{"freebsd", "amd64", ""},
	{"windows", "amd64", ""}, // unsupported, and says so
	{"plan9", "amd64", ""},   // unsupported too, and lacks most errnos
	{"linux", "386", ""},     // unsupported too: too few addresses
}

type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Module     *struct{ Path string }
}

func eachBuild(t *testing.T, check func(t *testing.T, list func(arguments ...string) []goPackage)) {
	for _, b := range builds {
		t.Run(strings.TrimSuffix(b.system+"/"+b.architecture+"/"+b.tags, "/"), func(t *testing.T) {
			t.Parallel()
			check(t, func(arguments ...string) []goPackage {
				t.Helper()
				c := exec.Command("go", append([]string{"list", "-tags", b.tags, "-json=ImportPath,Standard,Imports,Module"}, arguments...)...)
				c.Env = append(os.Environ(), "GOOS="+b.system, "GOARCH="+b.architecture, "CGO_ENABLED=0")
				c.Stderr = os.Stderr
				out, err := c.Output()
				if err != nil {
					t.Fatal(err)
				}
				return decode(t, string(out))
			})
		})
	}
}

func decode(t *testing.T, listed string) (packages []goPackage) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(listed)); ; {
		var p goPackage
		switch err := d.Decode(&p); err {
		case nil:
			packages = append(packages, p)
		case io.EOF:
			return packages
		default:
			t.Fatal(err)
		}
	}
}

// driver returns the folder of a package that drives the library, "" for other packages.
func driver(room string) string {
	folder, _, _ := strings.Cut(room, "/")
	if slices.Contains(drivers, folder) {
		return folder
	}
	return ""
}

// wrong returns what is wrong with one package of the module importing another, or "".
func wrong(room, other string) string {
	below, listed := rooms[room]
	switch {
	case driver(other) != "" && driver(other) != driver(room):
		return "which nothing may import"
	case driver(room) != "":
		return ""
	case !listed:
		return "but is not in the list of rooms"
	case !slices.Contains(below, other):
		return "which rooms does not allow"
	}
	return ""
}

func TestImportsGoDownOnly(t *testing.T) {
	eachBuild(t, func(t *testing.T, list func(...string) []goPackage) {
		missing := map[string]bool{}
		for room := range rooms {
			missing[room] = true
		}
		for _, p := range list(module + "/...") {
			room := strings.TrimPrefix(p.ImportPath, module+"/")
			delete(missing, room)
			if _, listed := rooms[room]; !listed && driver(room) == "" {
				t.Errorf("%s is not in the list of rooms", room)
			}
			for _, path := range p.Imports {
				if other, ours := strings.CutPrefix(path, module+"/"); ours {
					if why := wrong(room, other); why != "" {
						t.Errorf("%s imports %s, %s", room, other, why)
					}
				}
			}
		}
		for room := range missing {
			t.Errorf("%s is in the list of rooms but does not exist", room)
		}
	})
}

func TestLibraryImportsFourModules(t *testing.T) {
	eachBuild(t, func(t *testing.T, list func(...string) []goPackage) {
		needed := list("-deps", module+"/mmapkv")
		if len(needed) < 20 {
			t.Fatalf("only %d packages", len(needed))
		}
		for _, p := range needed {
			if p.Standard || p.Module != nil && (p.Module.Path == module || slices.Contains(outside, p.Module.Path)) {
				continue
			}
			t.Errorf("the library needs %s", p.ImportPath)
		}
	})
}

// TestRulesRefuse checks that the rules refuse what they should, even when no package violates
// them.
func TestRulesRefuse(t *testing.T) {
	for _, c := range []struct {
		room, other string
		allowed     bool
	}{
		{"mmapkv", "segment", true},
		{"mmapkv", "internal/inject", true},
		{"mmapkv", "internal/crashfs", false},
		{"mmapkv", "cmd/mmapkv", false},
		{"segment", "mmapkv", false},
		{"segment", "index", false},
		{"fsync", "segment", false},
		{"mmapkv", "mmapkv/internal/catalog", true},
		{"mmapkv/internal/replay", "mmapkv", false},
		{"mmapkv/internal/replay", "internal/vfs", false},
		{"internal/vfs", "segment", false},
		{"internal/vfs", "internal/vfs/vfstest", false},
		{"internal/guard", "internal/vfs", false},
		{"internal/unheard", "internal/vfs", false},
		{"cmd/mmapkv", "mmapkv", true},
		{"cmd/mmapkv", "fuzz", false},
		{"fuzz", "internal/crashfs", true},
		{"fuzz/mutants", "perf", false},
	} {
		if why := wrong(c.room, c.other); (why == "") != c.allowed {
			t.Errorf("%s importing %s: %q", c.room, c.other, why)
		}
	}
}
