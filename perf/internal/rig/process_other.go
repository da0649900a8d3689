//go:build !unix

package rig

import (
	"io/fs"
	"time"
)

// allocated is the length of the file, where the system does not tell more.
func allocated(info fs.FileInfo) int64 { return info.Size() }

// ProcessorTime is how long processors have worked for this process: unknown.
func ProcessorTime() time.Duration { return 0 }
