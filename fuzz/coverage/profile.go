package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// profile says which blocks of statements were run.
type profile map[string]map[block]bool // by file, as in the repository

// block is a piece of a file that runs as a whole.
type block struct {
	from, to   position
	statements int
}

type position struct{ line, column int }

func (p position) before(q position) bool {
	return p.line < q.line || p.line == q.line && p.column < q.column
}

const module = "github.com/mmapkv/mmapkv/"

// read adds a cover profile. A block counts as run if any profile says so.
func (p profile) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan() // the mode
	for lines.Scan() {
		file, rest, _ := strings.Cut(lines.Text(), ":")
		file = strings.TrimPrefix(file, module)
		var b block
		var count int
		if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &b.from.line, &b.from.column,
			&b.to.line, &b.to.column, &b.statements, &count); err != nil {
			return fmt.Errorf("%s: %q: %w", name, lines.Text(), err)
		}
		if p[file] == nil {
			p[file] = map[block]bool{}
		}
		p[file][b] = p[file][b] || count > 0
	}
	return lines.Err()
}

// percent returns how many of a package's statements were run, in percent.
func (p profile) percent(dir string) float64 {
	all, run := 0, 0
	for file, blocks := range p {
		if file[:strings.LastIndex(file, "/")] != dir {
			continue
		}
		for b, wasRun := range blocks {
			all += b.statements
			if wasRun {
				run += b.statements
			}
		}
	}
	return 100 * float64(run) / float64(max(all, 1))
}

// within reports whether the first block between two positions of a file was run.
func (p profile) within(file string, from, to position) bool {
	var first block
	found, wasRun := false, false
	for b, run := range p[file] {
		if b.from.before(from) || to.before(b.to) || found && first.from.before(b.from) {
			continue
		}
		first, found, wasRun = b, true, run
	}
	return wasRun
}
