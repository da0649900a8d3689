// Package suites runs the tests that other projects demand of an ordered key-value store
// on mmapkv: package dbtest of go-ethereum, and package dbtest of AvalancheGo. The
// adapters between their interfaces and the store are in the tests.
//
// What must hold: every test of the suites passes on a store with the default options,
// and on one whose segments are so small that the tests fill many, with compaction in
// the background. AvalancheGo's test IteratorSnapshot is left out: an iterator may show
// what was put after it was made.
package suites
