// Package errno names the system errors that the store distinguishes. Plan 9 has none of them,
// and no store can be opened there: these only satisfy the compiler.
package errno

import "strconv"

// Errno stands in for an error number that the system does not have.
type Errno uintptr

// The errors. No call returns any of them.
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

// Error returns the number as text.
func (e Errno) Error() string { return "error number " + strconv.Itoa(int(e)) }
