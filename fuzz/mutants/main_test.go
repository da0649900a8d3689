package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const top = "../.." // of the module

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
			if _, err := m.plant(source(t, m.file)); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
			if m.search == m.replace {
				t.Errorf("%q changes nothing", m.name)
			}
		}
	}
}

// A mutant that does not compile fails every test, and so says nothing about them. This looks only
// at the mutant's own package. A mutant that breaks only the packages that import it would have to
// change a declaration; the runner reports it as broken.
func TestEveryMutantCompiles(t *testing.T) {
	byDir, total := map[string][]mutant{}, 0
	for _, suite := range suites {
		for _, m := range suite.mutants {
			if dir := path.Dir(m.file); !slices.Contains(byDir[dir], m) {
				byDir[dir] = append(byDir[dir], m)
				total++
			}
		}
	}
	if total < 100 {
		t.Errorf("only %d mutants", total)
	}
	packages := list(t, slices.Sorted(maps.Keys(byDir)))
	for dir, mutants := range byDir {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			p := newCompiled(t, packages, dir)
			refused := map[string]bool{} // files whose errors were noticed
			for _, m := range mutants {
				original := source(t, m.file)
				if !refused[m.file] {
					// Otherwise nothing below would be checked.
					if err := p.compile(t, m.file, original+"\nvar _ int = nil\n"); err == nil {
						t.Fatalf("an error in %s is not noticed", m.file)
					}
					refused[m.file] = true
				}
				planted, err := m.plant(original)
				if err != nil {
					t.Error(err)
				} else if err := p.compile(t, m.file, planted); err != nil {
					t.Errorf("%q does not compile: %v", m.name, err)
				}
			}
		})
	}
}

// A mutant that does not compile is not caught, although its tests fail.
func TestMutantThatDoesNotCompileIsNotCaught(t *testing.T) {
	t.Chdir(top)
	s := suite{dir: "internal/errno", test: "."}
	m := mutant{"unused import", "internal/errno/errno.go", "package errno\n", "package errno\n\nimport \"os\"\n"}
	if verdict, err := s.try(m, 1); verdict != "" || err == nil || !strings.Contains(err.Error(), "does not compile") {
		t.Errorf("verdict %q, error %v", verdict, err)
	}
	if s.catches(m, 1) {
		t.Error("it counts as caught")
	}
}

func source(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(top, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// listed is a package as `go list` describes it.
type listed struct {
	ImportPath string
	Dir        string
	Export     string   // the file of its compiled declarations
	GoFiles    []string // those that are compiled for this system
}

// list compiles the packages of the module in the directories, and describes them and all that they
// import, by import path.
func list(t *testing.T, dirs []string) map[string]listed {
	t.Helper()
	c := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles")
	for _, dir := range dirs {
		c.Args = append(c.Args, "./"+dir)
	}
	c.Dir, c.Stderr = top, os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]listed{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
}

// compiled is a package that can be compiled again with another content of a file. It must not be
// used by two goroutines.
type compiled struct {
	path      string
	positions *token.FileSet
	files     map[string]*ast.File // by name
	config    types.Config
}

func newCompiled(t *testing.T, packages map[string]listed, dir string) *compiled {
	t.Helper()
	p := &compiled{path: "github.com/mmapkv/mmapkv/" + dir, positions: token.NewFileSet(), files: map[string]*ast.File{}}
	for _, name := range packages[p.path].GoFiles {
		file, err := p.parse(name, source(t, path.Join(dir, name)))
		if err != nil {
			t.Fatal(err)
		}
		p.files[name] = file
	}
	p.config.Sizes = types.SizesFor("gc", runtime.GOARCH)
	p.config.Importer = importer.ForCompiler(p.positions, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(packages[path].Export)
	})
	return p
}

func (p *compiled) parse(name, content string) (*ast.File, error) {
	return parser.ParseFile(p.positions, name, content, parser.SkipObjectResolution)
}

// compile returns the first error of the package with another content of one file.
func (p *compiled) compile(t *testing.T, file, content string) error {
	t.Helper()
	name := path.Base(file)
	if p.files[name] == nil {
		t.Fatalf("%s is not compiled for this system", file)
	}
	changed, err := p.parse(name, content)
	if err != nil {
		return err
	}
	files := []*ast.File{changed}
	for other, file := range p.files {
		if other != name {
			files = append(files, file)
		}
	}
	_, err = p.config.Check(p.path, p.positions, files, nil)
	return err
}
