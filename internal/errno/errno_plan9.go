// Package errno names the system's errors that the store tells apart. Plan 9 has
// none of them, and no store can be opened there: these are only for the compiler.
package errno

import "strconv"

// Errno stands in for a number that the system does not have.
type Errno uintptr

// The errors, none of which any call returns.
const (
	EBADF Errno = 1 + iota
	EDQUOT
	EFBIG
	EIO
	EMFILE
	ENFILE
	ENOMEM
	ENOSPC
	EROFS
)

// Error is the number.
func (e Errno) Error() string { return "error number " + strconv.Itoa(int(e)) }
