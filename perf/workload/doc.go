// Package workload is what stores are measured with: the data, the operations, and
// what a measurement showed. It knows no store but by the Engine that opens one, so
// that mmapkv and its rivals do the same work in one process.
//
// # What must hold
//
//   - All engines get the same keys, the same values and the same choices: they are
//     functions of the seed.
//   - A value is derived from its key and version, is like no other, and cannot be
//     compressed. Every read is checked: its length, its key, and its last word; one in
//     many in full.
//   - What a workload does for itself (choosing a key, making a value, checking one)
//     is in the figures of the floors as well.
package workload
