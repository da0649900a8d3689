package forgetful

import (
	"slices"
	"strings"
)

// node is what a name stands for: a file or a directory.
type node struct {
	file *inode
	dir  *directory
}

type entry struct {
	name string
	node node
}

// entries is a directory's content, sorted by name. It is never changed in
// place, so that making a directory durable copies nothing.
type entries []entry

func (e entries) find(name string) (int, bool) {
	return slices.BinarySearchFunc(e, name, func(have entry, want string) int {
		return strings.Compare(have.name, want)
	})
}

func (e entries) get(name string) (node, bool) {
	if at, ok := e.find(name); ok {
		return e[at].node, true
	}
	return node{}, false
}

func (e entries) has(name string) bool {
	_, ok := e.find(name)
	return ok
}

func (e entries) with(name string, n node) entries {
	at, taken := e.find(name)
	if taken {
		changed := slices.Clone(e)
		changed[at].node = n
		return changed
	}
	changed := make(entries, 0, len(e)+1)
	changed = append(changed, e[:at]...)
	changed = append(changed, entry{name, n})
	return append(changed, e[at:]...)
}

func (e entries) without(name string) entries {
	at, ok := e.find(name)
	if !ok {
		return e
	}
	changed := make(entries, 0, len(e)-1)
	changed = append(changed, e[:at]...)
	return append(changed, e[at+1:]...)
}

type entryKind int

const (
	entrySet entryKind = iota // create, mkdir
	entryRename
	entryRemove
)

// entryOp is one change of a directory that is not durable yet.
type entryOp struct {
	kind    entryKind
	name    string
	newName string
	node    node
}

func (op entryOp) applyTo(e entries) entries {
	switch op.kind {
	case entrySet:
		return e.with(op.name, op.node)
	case entryRemove:
		return e.without(op.name)
	}
	// A file has one name. Where the renames before this one were lost, it is
	// still under an older name than op.name.
	for _, have := range e {
		if have.node == op.node {
			e = e.without(have.name)
		}
	}
	return e.without(op.name).with(op.newName, op.node)
}

// directory holds what a running process sees and what a power cut leaves.
// current is always durable with all of pending applied.
type directory struct {
	current entries
	durable entries
	pending []entryOp
}

func (d *directory) change(op entryOp) {
	d.pending = append(d.pending, op)
	d.current = op.applyTo(d.current)
}

func (d *directory) sync() {
	d.durable = d.current
	d.pending = nil
}
