package layering

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadingGuideNamesWhatThereIs: the files and functions that the README tells its readers
// to follow exist, each function in one of the files.
func TestReadingGuideNamesWhatThereIs(t *testing.T) {
	const root = "../.."
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, guide, found := strings.Cut(string(readme), "\n## Reading the source\n")
	if !found {
		t.Fatal("the README has no guide to the source")
	}
	var source strings.Builder
	var functions []string
	files := 0
	for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(guide, -1) {
		name := quoted[1]
		switch {
		case strings.HasSuffix(name, ".go"):
			content, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				content, err = os.ReadFile(filepath.Join(root, "mmapkv/internal", name))
			}
			if err != nil {
				t.Errorf("the guide names %s: %v", name, err)
			}
			source.Write(content)
			files++
		case !strings.Contains(name, "/"):
			functions = append(functions, name[strings.LastIndex(name, ".")+1:])
		}
	}
	for _, name := range functions {
		declared := regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + name + `(\[[^]]*\])?\(`)
		if !declared.MatchString(source.String()) {
			t.Errorf("no file of the guide has the function %s", name)
		}
	}
	if files < 10 || len(functions) < 10 {
		t.Errorf("the guide names %d files and %d functions", files, len(functions))
	}
}
