package errno

import "errors"

// OutOfSpace says whether a write or an allocation failed because the file may not grow:
// the disk is full, the quota is used up, or the process has reached its file size limit.
func OutOfSpace(err error) bool { return DiskFull(err) || errors.Is(err, EFBIG) }

// DiskFull says whether the disk, or the caller's quota on it, is used up. Removing other
// files helps.
func DiskFull(err error) bool { return errors.Is(err, ENOSPC) || errors.Is(err, EDQUOT) }

// Scarce says whether the process or the system lacks descriptors or memory to open a
// file. It says nothing about the file.
func Scarce(err error) bool {
	return errors.Is(err, EMFILE) || errors.Is(err, ENFILE) || errors.Is(err, ENOMEM)
}

// Final says whether an error of a write means that nothing more may be written: what
// the disk holds is no longer known. A file system turns read-only after an I/O error
// of its own.
func Final(err error) bool { return errors.Is(err, EIO) || errors.Is(err, EROFS) }
