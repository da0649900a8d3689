package mmapkv

import (
	"os"
	"strings"
	"testing"
)

// TestProgramsOfThePageAreExamples: every program in TRANSACTIONS.md is a part of an example, which the
// tests run.
func TestProgramsOfThePageAreExamples(t *testing.T) {
	unindented := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		return strings.Join(lines, "\n")
	}
	examples, programs := unindented("example_tx_test.go"), strings.Split(unindented("TRANSACTIONS.md"), "```go\n")[1:]
	for _, program := range programs {
		program, _, _ = strings.Cut(program, "```")
		if !strings.Contains(examples, program) {
			t.Errorf("no example has\n%s", program)
		}
	}
	if len(programs) < 2 {
		t.Errorf("only %d programs", len(programs))
	}
}
