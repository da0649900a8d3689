//go:build !unix

package rig

import (
	"io/fs"
	"time"
)

// allocated is the length of the file: the system says no more.
func allocated(info fs.FileInfo) int64 { return info.Size() }

// ProcessorTime is the processor time of this process: unknown.
func ProcessorTime() time.Duration { return 0 }
