package layering

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// forbidden lists the functions that would make a promise of the library depend on the garbage
// collector, or run the collector at the host program's expense.
var forbidden = map[string]bool{
	"runtime.GC": true, "debug.FreeOSMemory": true, "debug.SetGCPercent": true, "debug.SetMemoryLimit": true,
	"runtime.SetFinalizer": true, "runtime.AddCleanup": true,
}

// nets are the files that may use a forbidden function once, as a safety net that no promise relies
// on.
var nets = map[string]string{
	"mmapkv/forgotten.go": "runtime.AddCleanup", // reports an Iterator or a Snapshot that its user forgot to close
}

// collections lists the forbidden functions that a Go file names.
func collections(t *testing.T, name string, source []byte) (calls []string) {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if from, ok := s.X.(*ast.Ident); ok && forbidden[from.Name+"."+s.Sel.Name] {
				calls = append(calls, files.Position(s.Pos()).String()+": "+from.Name+"."+s.Sel.Name)
			}
		}
		return true
	})
	return calls
}

func TestCollectionsAreTheHosts(t *testing.T) {
	root, looked := os.DirFS("../.."), 0
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path == "perf" {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		looked++
		for _, call := range collections(t, path, source) {
			if net := nets[path]; net != "" && strings.HasSuffix(call, ": "+net) {
				delete(nets, path)
				continue
			}
			t.Errorf("%s: only tests and perf may use it", call)
		}
		return nil
	})
	if err != nil || looked < 100 {
		t.Errorf("%d files searched: %v", looked, err)
	}
	for path, net := range nets {
		t.Errorf("%s does not use %s", path, net)
	}
	if calls := collections(t, "example.go", []byte("package example\n\nfunc f() { runtime.GC() }")); len(calls) != 1 {
		t.Errorf("runtime.GC() is not reported: %v", calls)
	}
}
