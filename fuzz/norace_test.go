//go:build !race

package fuzz

const sampleOneIn = 1
