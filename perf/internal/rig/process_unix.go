//go:build unix

package rig

import (
	"io/fs"
	"syscall"
	"time"
)

// statBlockSize is the unit of st_blocks, whatever the file system's blocks are.
const statBlockSize = 512

// allocated is the space that a file takes on disk.
func allocated(info fs.FileInfo) int64 {
	return int64(info.Sys().(*syscall.Stat_t).Blocks) * statBlockSize
}

// ProcessorTime is the processor time of this process.
func ProcessorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
