//go:build race

package fuzz

// Under the race detector the simulators run only a sample: they have only one goroutine.
const sampleOneIn = 10
