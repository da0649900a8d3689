// Package realdisk runs the store on file systems of the Linux kernel that are full, fail reads
// or fail writes. Package fuzz does the same with a simulated disk. This package holds only
// tests, and nothing imports it.
//
// Each test runs again in a child process with its own mounts, so that the kernel releases
// mounts, loop devices and files however the child ends. A test is skipped if the machine does
// not allow it; with MMAPKV_NO_SKIP set it fails instead.
package realdisk
