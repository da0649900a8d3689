//go:build !plan9

// Package errno names the system errors that the store distinguishes. They are those of package
// syscall, which lacks most of them on Plan 9.
package errno

import "syscall"

// Errno is the system's error number of a failed call.
type Errno = syscall.Errno

// The errors of package syscall.
const (
	EBADF  = syscall.EBADF
	EDQUOT = syscall.EDQUOT
	EFBIG  = syscall.EFBIG
	EIO    = syscall.EIO
	EMFILE = syscall.EMFILE
	ENFILE = syscall.ENFILE
	ENOMEM = syscall.ENOMEM
	ENOSPC = syscall.ENOSPC
	EROFS  = syscall.EROFS
)
