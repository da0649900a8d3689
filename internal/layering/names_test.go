package layering

import (
	"go/ast"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestExportedNamesAreDocumented requires a comment for every exported name, above it or beside
// it. For constants, variables, fields and interface methods, a comment above a group without
// blank lines covers the whole group.
func TestExportedNamesAreDocumented(t *testing.T) {
	names, undocumented := 0, map[string]int{}
	for _, f := range sourcesOf(t, (*sourceFile).library) {
		eachExported(f.ast, func(name string, documented bool) {
			names++
			if !documented {
				top, _, _ := strings.Cut(name, ".")
				undocumented[f.room+"."+top]++
			}
		})
	}
	if names < 500 {
		t.Errorf("only %d exported names", names)
	}
	r := newRule(t, "undocumented", 0)
	for name, count := range undocumented {
		r.check(name, count)
	}
	r.end()
}

// eachExported calls fn with each exported name of a file, as Type.Name for members of a type,
// and with whether it is documented.
func eachExported(file *ast.File, fn func(name string, documented bool)) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			receiver := receiverOf(d)
			if d.Name.IsExported() && (receiver == "" || ast.IsExported(receiver)) {
				fn(funcName(d), d.Doc != nil)
			}
		case *ast.GenDecl:
			var group group
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						fn(s.Name.Name, d.Doc != nil || s.Doc != nil || s.Comment != nil)
						eachMember(s, fn)
					}
				case *ast.ValueSpec:
					documented := group.next(s, s.Doc, s.Comment) || d.Doc != nil
					each("", s.Names, func(name string) { fn(name, documented) })
				}
			}
		}
	}
}

// eachMember does the same for the fields of a struct or the methods of an interface.
func eachMember(of *ast.TypeSpec, fn func(name string, documented bool)) {
	var list *ast.FieldList
	switch t := of.Type.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return
	}
	var group group
	for _, field := range list.List {
		documented := group.next(field, field.Doc, field.Comment)
		each(of.Name.Name+".", field.Names, func(name string) { fn(name, documented) })
	}
}

func each(prefix string, names []*ast.Ident, fn func(name string)) {
	for _, name := range names {
		if name.IsExported() {
			fn(prefix + name.Name)
		}
	}
}

// group is a run of lines below one comment, without blank lines.
type group struct {
	end        int // its last line
	documented bool
}

// next reports whether a line is documented, by its own comment or by that of its group.
func (g *group) next(n ast.Node, above, beside *ast.CommentGroup) bool {
	g.documented = above != nil || g.documented && line(n.Pos()) == g.end+1
	g.end = line(n.End())
	return g.documented || beside != nil
}

// driverRooms are the packages that drive the library.
var driverRooms = []string{
	"cmd/mmapkv", "cmd/mmapkv/internal/walrus", "cmd/mmapkv/internal/walrus/walrustest",
	"fuzz", "fuzz/coverage", "fuzz/mutants", "fuzz/realdisk",
	"perf", "perf/copyspeed", "perf/idle", "perf/internal/floor", "perf/internal/rig", "perf/latency", "perf/littlememory",
	"perf/report", "perf/rivals", "perf/space", "perf/suites", "perf/workload",
}

// TestEveryFileIsInARoom requires every Go file, whatever its system and build tags, to be in a
// room. At the top it allows only the rooms' folders and hidden ones.
func TestEveryFileIsInARoom(t *testing.T) {
	empty, tops := map[string]bool{}, map[string]bool{}
	for _, room := range slices.AppendSeq(slices.Clone(driverRooms), maps.Keys(rooms)) {
		empty[room] = true
		top, _, _ := strings.Cut(room, "/")
		tops[top] = true
	}
	for _, f := range sourcesOf(t, func(*sourceFile) bool { return true }) {
		delete(empty, f.room)
		if _, library := rooms[f.room]; !library && !slices.Contains(driverRooms, f.room) {
			t.Errorf("%s is not in a room", f.path)
		}
	}
	for room := range empty {
		t.Errorf("%s has no files", room)
	}
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !tops[e.Name()] && !strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is not a room", e.Name())
		}
	}
}
