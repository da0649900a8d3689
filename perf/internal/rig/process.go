package rig

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Allocated lists the files of a directory with the bytes of the blocks that each
// of them has. A file that vanishes meanwhile is left out.
func Allocated(dir string) (map[string]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make(map[string]int64, len(entries))
	for _, e := range entries {
		info, err := os.Lstat(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[e.Name()] = allocated(info)
	}
	return files, nil
}

// Memory is what the process takes now: all that is resident, the most that ever
// was, and how much is not pages of files. It is all zero where the system does
// not tell.
type Memory struct {
	Resident, Peak, Anonymous Bytes
}

// HeapInUse is what is alive on the heap, in bytes. It collects garbage first.
func HeapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what cleanups let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// ReadMemory asks the system.
func ReadMemory() Memory {
	content, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return Memory{}
	}
	var m Memory
	for line := range strings.Lines(string(content)) {
		name, rest, _ := strings.Cut(line, ":")
		number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		kibibytes, _ := strconv.ParseInt(number, 10, 64) // most lines are no sizes
		size := Bytes(kibibytes << 10)
		switch name {
		case "VmRSS":
			m.Resident = size
		case "VmHWM":
			m.Peak = size
		case "RssAnon":
			m.Anonymous = size
		}
	}
	return m
}
