// Package memgroup bounds the memory of a process by a control group of its own,
// that of the files it reads and writes included. Tests and measurements on Linux use
// it; elsewhere it is empty.
//
// What must hold: a group that was made is removed, whatever became of its processes.
package memgroup
