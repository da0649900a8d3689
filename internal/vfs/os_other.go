//go:build !linux && !darwin && !freebsd

package vfs

import (
	"errors"
	"fmt"
	"runtime"
)

// OS is a file system that refuses everything: this system is not supported.
func OS() FS { return unsupported{} }

var errUnsupported = fmt.Errorf("vfs: %s is not supported: %w", runtime.GOOS, errors.ErrUnsupported)

type unsupported struct{}

func (unsupported) OpenDir(string) (Dir, error) { return nil, errUnsupported }
func (unsupported) Mkdir(string) error          { return errUnsupported }
