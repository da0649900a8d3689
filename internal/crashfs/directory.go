package crashfs

import (
	"slices"
	"strings"
)

// directory holds the names of a directory. Disks share its lists of entries and of changes, so
// nothing changes them in place.
type directory struct {
	entries []entry // as processes see them, sorted by name
	durable []entry
	pending []entryChange // turns durable into entries, in order
}

type entry struct {
	name string
	node int
}

type entryKind uint8

const (
	addEntry entryKind = iota
	renameEntry
	removeEntry
)

type entryChange struct {
	kind entryKind
	name string
	to   string // of renameEntry
	node int    // of addEntry
}

func (dir *directory) clone() *directory {
	dir.pending = slices.Clip(dir.pending)
	copied := *dir
	return &copied
}

func search(entries []entry, name string) (at int, found bool) {
	return slices.BinarySearchFunc(entries, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
}

func (dir *directory) find(name string) (number int, ok bool) {
	at, ok := search(dir.entries, name)
	if !ok {
		return 0, false
	}
	return dir.entries[at].node, true
}

func (dir *directory) change(c entryChange) {
	dir.entries = c.apply(dir.entries)
	dir.pending = append(dir.pending, c)
}

// apply returns the entries after the change. Renaming or removing a missing name changes
// nothing.
func (c entryChange) apply(entries []entry) []entry {
	changed := slices.Grow(slices.Clone(entries), 1)
	if c.kind == addEntry {
		return put(changed, c.name, c.node)
	}
	at, found := search(changed, c.name)
	if !found {
		return changed
	}
	number := changed[at].node
	changed = slices.Delete(changed, at, at+1)
	if c.kind == renameEntry {
		changed = put(changed, c.to, number)
	}
	return changed
}

// put changes a list that is not shared yet.
func put(entries []entry, name string, number int) []entry {
	at, found := search(entries, name)
	if found {
		entries[at].node = number
		return entries
	}
	return slices.Insert(entries, at, entry{name, number})
}

// touches reports whether the change affects one of the names.
func (c entryChange) touches(names []string) bool {
	return slices.Contains(names, c.name) || c.kind == renameEntry && slices.Contains(names, c.to)
}

// names appends the names that the change affects.
func (c entryChange) names(list []string) []string {
	if c.kind == renameEntry {
		list = append(list, c.to)
	}
	return append(list, c.name)
}

// syncDirLocked makes the names durable. It drops the nodes that no name leads to any more, and
// that no power cut can bring back.
func (d *Disk) syncDirLocked(dir *directory) {
	if len(dir.pending) == 0 {
		return
	}
	forget := func(number int) {
		if !slices.ContainsFunc(dir.entries, func(e entry) bool { return e.node == number }) {
			d.nodes[number] = node{}
		}
	}
	for _, e := range dir.durable {
		forget(e.node)
	}
	for _, c := range dir.pending {
		if c.kind == addEntry {
			forget(c.node)
		}
	}
	dir.durable, dir.pending = dir.entries, nil
}
