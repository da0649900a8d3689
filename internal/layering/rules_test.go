package layering

import (
	"fmt"
	"go/ast"
	"go/parser"
	"maps"
	"slices"
	"testing"
)

// untidy breaks each rule about the content of a file.
const untidy = `package untidy

type Small struct { // no doc
	Size int

	// Both of these
	// are documented.
	Offset int
	Length int

	Beside int // here
	Alone  int

	ok sync.Mutex // guards Alone
	mu sync.Mutex // protects nothing
	// held by whoever splits
	above rank.Mutex[rank.Index]
}

// Reader is documented.
type Reader interface {
	Read()
	// Close is documented.
	Close()
}

func (s *Small) Method() {}

func (*small[K]) Method() {}

func private() {}

// Documented is.
const Documented = 1

const (
	// One and the next.
	One = iota
	Two

	Three
)

var lock sync.RWMutex
`

// TestTidyRulesNotice checks that the rules notice violations, even when the repository has
// none.
func TestTidyRulesNotice(t *testing.T) {
	file, err := parser.ParseFile(positions, "untidy.go", untidy, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	eachExported(file, func(name string, documented bool) { names[name] = documented })
	if want := map[string]bool{
		"Small": false, "Small.Size": false, "Small.Offset": true, "Small.Length": true, "Small.Beside": true, "Small.Alone": false,
		"Reader": true, "Reader.Read": false, "Reader.Close": true, "Small.Method": false,
		"Documented": true, "One": true, "Two": true, "Three": false,
	}; !maps.Equal(names, want) {
		t.Errorf("documented: %v", names)
	}
	if found, want := mutexes(file), map[int]bool{14: true, 15: false, 17: true, 44: false}; !maps.Equal(found, want) {
		t.Errorf("mutexes that say what they guard: %v", found)
	}
	var functions []string
	for _, d := range file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			functions = append(functions, funcName(fn))
		}
	}
	if want := []string{"Small.Method", "small.Method", "private"}; !slices.Equal(functions, want) {
		t.Errorf("functions %v", functions)
	}
}

func TestExceptionsOnlyShrink(t *testing.T) {
	for _, c := range []struct {
		size, limit, allowed int
		excepted, wrong      bool
	}{
		{301, 300, 0, false, true},
		{301, 300, 301, true, false},
		{350, 300, 400, true, false},
		{401, 300, 400, true, true},
	} {
		if why := tooLarge(c.size, c.limit, c.allowed, c.excepted); (why != "") != c.wrong {
			t.Errorf("%+v: %q", c, why)
		}
	}
	if names := superfluous(map[string]int{"a": 1, "b": 2}, map[string]int{"a": 1}); fmt.Sprint(names) != "[b]" {
		t.Errorf("superfluous: %v", names)
	}
}
