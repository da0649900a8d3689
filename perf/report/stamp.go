package report

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
)

// Stamp describes the machine, system and command of a run with its files in dir.
func Stamp(dir string, more ...Line) []Line {
	c := cpuid.CPU
	lines := []Line{
		{"date", time.Now().Format(time.RFC3339)},
		{"command", strings.Join(append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...), " ")},
		{"commit", commit()},
		{"processor", fmt.Sprintf("%s, %d logical cores, L1 %d KiB, L2 %d KiB, L3 %d KiB", c.BrandName, c.LogicalCores, c.Cache.L1D>>10, c.Cache.L2>>10, c.Cache.L3>>10)},
		{"system", kernel() + ", load " + Load()},
		{"file system", fileSystem(dir)},
		{"Go", fmt.Sprintf("%s %s/%s, %d processors, GOMAXPROCS %d, GOGC=%s, GOMEMLIMIT=%s, GODEBUG=%s", runtime.Version(), runtime.GOOS, runtime.GOARCH,
			runtime.NumCPU(), runtime.GOMAXPROCS(0), os.Getenv("GOGC"), os.Getenv("GOMEMLIMIT"), os.Getenv("GODEBUG"))},
	}
	return append(lines, more...)
}

// Load is the load average of the machine.
func Load() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(content))[:3], " ")
}

// commit is the revision that the toolchain stamped into the program, or, since go run
// stamps none, what git says about the working directory.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		var revision, modified string
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = ", modified"
			}
		}
		if revision != "" {
			return revision + modified
		}
	}
	out, err := exec.Command("git", "describe", "--always", "--dirty=, modified", "--abbrev=40", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
