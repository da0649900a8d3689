package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are the README and the linked pages that show commands or code. The commands
// of a page rely on those of the pages before it.
var pages = []string{"README.md", "cmd/mmapkv/README.md", "mmapkv/OPERATING.md"}

// fence is a fenced block of a page: its language and its text.
var fence = regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```")

func readme(t *testing.T) (root string, blocks [][2]string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// This downloads all modules that the offline commands need.
	list := exec.Command("go", "list", "-deps", "-test", "./...")
	list.Dir = root
	if out, err := list.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
			blocks = append(blocks, [2]string{m[1], m[2]})
		}
	}
	if len(blocks) < 7 {
		t.Fatalf("the pages have only %d blocks", len(blocks))
	}
	return root, blocks
}

// link matches a link to another page of the repository.
var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

// TestReadmeLinksLead checks that every link of the pages leads to a file, and that
// links lead to every page.
func TestReadmeLinksLead(t *testing.T) {
	root := filepath.Join("..", "..")
	reached := map[string]bool{"README.md": true}
	for _, page := range append(slices.Clone(pages), "mmapkv/SECURITY.md") {
		if !reached[page] {
			t.Errorf("no link leads to %s", page)
		}
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to := filepath.Join(filepath.Dir(page), m[1])
			reached[to] = true
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// maxReadmeLines keeps the README short enough to be read to the end.
const maxReadmeLines = 250

func TestReadmeIsShort(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > maxReadmeLines {
		t.Errorf("the README has %d lines", lines)
	}
}

// offline runs a shell script with only the modules that are already downloaded.
func offline(t *testing.T, dir, script string, environment ...string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOPROXY=off", "GOSUMDB=off", "GOWORK=off"), environment...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v:\n%s", script, err, out)
	}
	return string(out)
}

// checkout copies the source to a new directory, where commands may leave their
// output.
func checkout(t *testing.T, root string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, pattern := range []string{"go.*", "*/*.go", "*/*/*.go", "*/*/*/*.go", "*/*/*/*/*.go", "*/*/*.s"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, strings.TrimPrefix(path, root))
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// TestReadmeCommands runs every command of the pages verbatim and in order, except the
// test command, which is already running.
func TestReadmeCommands(t *testing.T) {
	root, blocks := readme(t)
	work := checkout(t, root)
	first := filepath.Join(t.TempDir(), "first")
	if err := os.Mkdir(first, 0o700); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, b := range blocks {
		language, text := b[0], b[1]
		switch {
		case language == "go" && strings.HasPrefix(text, "package main"):
			if err := os.WriteFile(filepath.Join(first, "main.go"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		case language != "sh" || strings.Contains(text, "go test ./..."):
			continue
		case strings.Contains(text, "tour"):
			out := offline(t, work, strings.TrimSpace(text)+" --files segment --kill-after 50ms")
			if !strings.Contains(out, "Every check passed") {
				t.Errorf("the tour says %s", out)
			}
		case strings.Contains(text, "go mod init"):
			if out := offline(t, first, text, "MMAPKV="+root); !strings.Contains(out, "alice <nil>") {
				t.Errorf("the first program says %s", out)
			}
		default:
			if out := offline(t, work, text); !strings.Contains(out, "alice") {
				t.Errorf("the shell says %s", out)
			}
		}
		ran++
	}
	if ran != 5 {
		t.Errorf("%d blocks ran", ran)
	}
}

// TestReadmeSnippets compiles and runs the code snippets of the pages, inside a
// function that has a store.
func TestReadmeSnippets(t *testing.T) {
	root, blocks := readme(t)
	body := ""
	for _, b := range blocks {
		if b[0] == "go" && !strings.HasPrefix(b[1], "package main") {
			body += b[1]
		}
	}
	program := `package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("failed:", err)
	}
}

func run() error {
	store, err := mmapkv.Open("snippets", nil)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Put([]byte("user:1"), []byte("alice\n")); err != nil {
		return err
	}
` + body + `	return err
}
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	out := offline(t, dir, "go mod init example.com/snippets\n"+
		"go mod edit -require=github.com/mmapkv/mmapkv@v0.0.0 -replace=github.com/mmapkv/mmapkv=$MMAPKV\ngo mod tidy\ngo run .", "MMAPKV="+root)
	if !strings.Contains(out, "alice\nuser:1: ") || !strings.Contains(out, "\nuser:2 is bob\n") {
		t.Errorf("the snippets print %s", out)
	}
}
