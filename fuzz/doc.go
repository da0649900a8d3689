// Package fuzz drives the whole store, and the readers of its files, with input that nobody
// would write by hand: random operations on a disk that loses power at any call, and bytes that
// no store wrote. It holds only tests, and nothing imports it.
package fuzz
