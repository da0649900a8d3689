// Package realdisk runs the store on file systems of the Linux kernel that are
// full, refuse to be read or refuse to be written, where package fuzz has a
// simulated disk. It holds tests only, and nothing imports it.
//
// Each test runs again in a child process with mounts of its own, so that the
// kernel takes back mounts, loop devices and files however the child ends. What
// the machine does not allow is skipped; with MMAPKV_NO_SKIP set it is a failure.
package realdisk
