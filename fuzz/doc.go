// Package fuzz drives the whole store, and the readers of its files, with input
// that nobody would write by hand: random operations on a disk that loses power
// at any call, and bytes that never came from a store. It holds tests only, and
// nothing imports it.
package fuzz
