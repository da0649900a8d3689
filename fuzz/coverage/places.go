package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// place is code that handles an error: the body of an if or a case whose condition tests that
// an error is not nil.
type place struct {
	file      string
	line      int
	function  string
	condition string
	nth       int // among the places with this condition in the function, from 1
	taken     bool
}

// key names a place. The name does not depend on line numbers.
func (p place) key() string {
	return fmt.Sprintf("%s %s: %s #%d", p.file, p.function, p.condition, p.nth)
}

// errorPlaces lists the places of all files in the profile, in order.
func errorPlaces(blocks profile) (places []place, err error) {
	for file := range blocks {
		found, err := placesOf(file, blocks)
		if err != nil {
			return nil, err
		}
		places = append(places, found...)
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.file, b.file), a.line-b.line) })
	return places, nil
}

func placesOf(file string, blocks profile) (places []place, err error) {
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	at := func(p token.Pos) position {
		where := files.Position(p)
		return position{where.Line, where.Column}
	}
	for _, declaration := range tree.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		seen := map[string]int{}
		add := func(condition ast.Expr, from, to token.Pos) {
			if !saysError(condition) {
				return
			}
			p := place{file: file, line: at(from).line, function: name(function), condition: types.ExprString(condition)}
			seen[p.condition]++
			p.nth = seen[p.condition]
			p.taken = blocks.within(file, at(from), at(to))
			places = append(places, p)
		}
		ast.Inspect(function, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.IfStmt:
				add(n.Cond, n.Body.Lbrace, n.Body.Rbrace+1)
			case *ast.CaseClause:
				for _, condition := range n.List {
					add(condition, n.Colon, n.End())
				}
			}
			return true
		})
	}
	return places, nil
}

// name returns the name of a function, with its receiver's type.
func name(function *ast.FuncDecl) string {
	if function.Recv == nil {
		return function.Name.Name
	}
	return types.ExprString(function.Recv.List[0].Type) + "." + function.Name.Name
}

// saysError reports whether a condition tests that an error is not nil, alone or along with
// something else.
func saysError(condition ast.Expr) bool {
	switch c := condition.(type) {
	case *ast.ParenExpr:
		return saysError(c.X)
	case *ast.BinaryExpr:
		if c.Op == token.LAND || c.Op == token.LOR {
			return saysError(c.X) || saysError(c.Y)
		}
		return c.Op == token.NEQ && isError(c.X) && isNil(c.Y)
	}
	return false
}

func isError(e ast.Expr) bool {
	name, ok := e.(*ast.Ident)
	return ok && (strings.HasSuffix(strings.ToLower(name.Name), "err") || name.Name == "failure" || name.Name == "failed")
}

func isNil(e ast.Expr) bool {
	name, ok := e.(*ast.Ident)
	return ok && name.Name == "nil"
}
