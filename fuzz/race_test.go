//go:build race

package fuzz

// Under the race detector the simulators, which are of one goroutine anyway, take
// a sample.
const sampleOneIn = 10
