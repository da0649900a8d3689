//go:build race

package mmapkv

// raceEnabled: segments are read through heap copies, so nothing faults.
const raceEnabled = true
