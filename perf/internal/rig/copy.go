package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// CopyFiles copies files to a new directory, each of them durably, with reads and
// writes of 1 MiB, and returns how long that took.
func CopyFiles(ctx context.Context, from, to string, names []string) (size Bytes, took time.Duration, err error) {
	source, err := vfs.OS().OpenDir(from)
	if err != nil {
		return 0, 0, err
	}
	defer source.Close()
	if err := vfs.OS().Mkdir(to); err != nil {
		return 0, 0, err
	}
	target, err := vfs.OS().OpenDir(to)
	if err != nil {
		return 0, 0, err
	}
	defer target.Close()
	buffer := make([]byte, 1<<20)
	began := time.Now()
	for _, name := range names {
		if ctx.Err() != nil {
			return size, 0, ctx.Err()
		}
		n, err := copyFile(source, target, name, buffer)
		if err != nil {
			return size, 0, fmt.Errorf("copying %s: %w", name, err)
		}
		size += Bytes(n)
	}
	return size, time.Since(began), nil
}

func copyFile(source, target vfs.Dir, name string, buffer []byte) (size int64, err error) {
	in, err := source.OpenReadOnly(name)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := target.Create(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for {
		n, err := in.ReadAt(buffer, size)
		if err != nil && err != io.EOF {
			return size, err
		}
		last := err == io.EOF
		if _, err := vfs.WriteFull(out, buffer[:n], size); err != nil {
			return size, err
		}
		size += int64(n)
		if last {
			return size, out.Datasync()
		}
	}
}
