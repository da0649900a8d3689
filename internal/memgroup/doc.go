// Package memgroup limits the memory of a process with its own control group. The limit
// includes the page cache of the files that the process reads and writes. Tests and
// measurements on Linux use it; elsewhere it is empty.
//
// What must hold: Remove removes a group however its processes ended.
package memgroup
