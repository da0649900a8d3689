//go:build !race

package mmapkv

const raceEnabled = false
