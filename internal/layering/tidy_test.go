package layering

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	maxFileLines     = 300 // of a file of the library, except doc.go
	maxFunctionLines = 60  // of a function of the library, from its first line to its last
	maxStoreMethods  = 70
	maxStoreFields   = 30
)

// sourceFile is a Go file.
type sourceFile struct {
	path  string // from the top of the module
	room  string // its directory
	lines int
	ast   *ast.File
}

var positions = token.NewFileSet()

// line returns the line number of a position.
func line(pos token.Pos) int { return positions.Position(pos).Line }

func (f *sourceFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// library reports whether the file belongs to the library or its test disks and is not a test.
func (f *sourceFile) library() bool { return driver(f.room) == "" && !f.isTest() }

// sources parses all Go files of the module.
var sources = sync.OnceValues(func() (files []*sourceFile, err error) {
	top := os.DirFS("../..")
	err = fs.WalkDir(top, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.Name() == ".git":
			return fs.SkipDir
		case path.Ext(name) != ".go":
			return nil
		}
		content, err := fs.ReadFile(top, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(positions, name, content, parser.ParseComments|parser.SkipObjectResolution)
		files = append(files, &sourceFile{name, path.Dir(name), bytes.Count(content, []byte("\n")), parsed})
		return err
	})
	return files, err
})

func sourcesOf(t *testing.T, which func(*sourceFile) bool) []*sourceFile {
	t.Helper()
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(slices.Clone(all), func(f *sourceFile) bool { return !which(f) })
	if len(files) < 50 {
		t.Fatalf("only %d files", len(files))
	}
	return files
}

func TestFilesAreShort(t *testing.T) {
	r := newRule(t, "file", maxFileLines)
	defer r.end()
	for _, f := range sourcesOf(t, (*sourceFile).library) {
		if path.Base(f.path) != "doc.go" {
			r.check(f.path, f.lines)
		}
	}
}

func TestFunctionsAreShort(t *testing.T) {
	r := newRule(t, "function", maxFunctionLines)
	defer r.end()
	for _, f := range sourcesOf(t, (*sourceFile).library) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				r.check(f.path+":"+funcName(fn), line(fn.End())-line(fn.Pos())+1)
			}
		}
	}
}

// funcName returns Name or Receiver.Name.
func funcName(fn *ast.FuncDecl) string {
	if receiver := receiverOf(fn); receiver != "" {
		return receiver + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// receiverOf returns the name of a method's receiver type, "" for a function.
func receiverOf(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	t := fn.Recv.List[0].Type
	for {
		switch inner := t.(type) {
		case *ast.StarExpr:
			t = inner.X
		case *ast.IndexExpr:
			t = inner.X
		case *ast.IndexListExpr:
			t = inner.X
		case *ast.Ident:
			return inner.Name
		default:
			return ""
		}
	}
}

// TestStoreIsSmall limits the methods and fields of Store, the type that attracts them.
func TestStoreIsSmall(t *testing.T) {
	methods, fields := 0, 0
	for _, f := range sourcesOf(t, (*sourceFile).library) {
		if f.room != "mmapkv" {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && receiverOf(fn) == "Store" {
				methods++
			}
		}
		for name, spec := range structs(f.ast) {
			for _, field := range spec.Fields.List {
				if name == "Store" {
					fields += max(1, len(field.Names))
				}
			}
		}
	}
	if methods == 0 || fields == 0 {
		t.Fatalf("mmapkv.Store has %d methods and %d fields", methods, fields)
	}
	checkOne(t, "methods", maxStoreMethods, "mmapkv.Store", methods)
	checkOne(t, "fields", maxStoreFields, "mmapkv.Store", fields)
}

// structs yields the names and struct types that a file declares.
func structs(file *ast.File) func(yield func(string, *ast.StructType) bool) {
	return func(yield func(string, *ast.StructType) bool) {
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range decl.Specs {
				if spec, ok := s.(*ast.TypeSpec); ok {
					if of, ok := spec.Type.(*ast.StructType); ok && !yield(spec.Name.Name, of) {
						return
					}
				}
			}
		}
	}
}

// TestMutexesSayWhatTheyGuard requires a comment beside or above every mutex.
func TestMutexesSayWhatTheyGuard(t *testing.T) {
	found := 0
	for _, f := range sourcesOf(t, (*sourceFile).library) {
		for at, says := range mutexes(f.ast) {
			if found++; !says {
				t.Errorf("%s:%d: the mutex does not say what it guards", f.path, at)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d mutexes", found)
	}
}

// mutexes returns the lines of a file that declare mutex fields or variables, and whether the
// comments there say what the mutex guards.
func mutexes(file *ast.File) map[int]bool {
	found := map[int]bool{}
	note := func(n ast.Node, of ast.Expr, comments ...*ast.CommentGroup) {
		if !isMutex(of) {
			return
		}
		said := ""
		for _, c := range comments {
			said += c.Text()
		}
		found[line(n.Pos())] = saysWhatItGuards(said)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			note(n, n.Type, n.Doc, n.Comment)
		case *ast.GenDecl:
			for _, s := range n.Specs {
				if s, ok := s.(*ast.ValueSpec); ok {
					note(s, s.Type, n.Doc, s.Doc, s.Comment)
				}
			}
		}
		return true
	})
	return found
}

// isMutex reports whether a type is a Mutex or RWMutex of some package, such as sync.
func isMutex(of ast.Expr) bool {
	switch of := of.(type) {
	case *ast.IndexExpr:
		return isMutex(of.X)
	case *ast.SelectorExpr:
		return of.Sel.Name == "Mutex" || of.Sel.Name == "RWMutex"
	}
	return false
}

func saysWhatItGuards(comment string) bool {
	return slices.ContainsFunc([]string{"guards", "held by", "leaf"}, func(word string) bool { return strings.Contains(comment, word) })
}
