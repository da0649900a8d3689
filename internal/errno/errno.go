//go:build !plan9

// Package errno names the system's errors that the store tells apart. They are
// those of package syscall, which lacks most of them on Plan 9.
package errno

import "syscall"

// Errno is what the system says of a call that failed.
type Errno = syscall.Errno

// The errors, as package syscall has them.
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
