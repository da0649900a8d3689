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
// file has. It leaves out files that vanish while it runs.
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

// Memory is the memory of the process: what is resident now, the maximum that ever
// was, and what is not pages of files. All are zero if the system does not say.
type Memory struct {
	Resident, Peak, Anonymous Bytes
}

// HeapInUse collects garbage and returns the live bytes on the heap.
func HeapInUse() uint64 {
	runtime.GC()
	runtime.GC() // frees what cleanups released
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// ReadMemory reads it from the system.
func ReadMemory() Memory {
	content, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return Memory{}
	}
	var m Memory
	for line := range strings.Lines(string(content)) {
		name, rest, _ := strings.Cut(line, ":")
		number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		kibibytes, _ := strconv.ParseInt(number, 10, 64) // most lines are not sizes
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
