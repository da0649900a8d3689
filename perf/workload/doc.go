// Package workload has what stores are measured with: the data, the operations, and
// the results. It uses a store only through the Engine that opens it, so that mmapkv
// and its rivals do the same work in one process.
//
// # What must hold
//
//   - All engines get the same keys, the same values and the same choices: they are
//     functions of the seed.
//   - A value is derived from its key and version, is unique, and cannot be
//     compressed. Every read is checked: length, key and last word; one in 256 in
//     full.
//   - The figures of the floors include the workload's own work too (choosing a key,
//     making a value, checking one).
package workload
