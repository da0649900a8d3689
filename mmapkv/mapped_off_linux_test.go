//go:build race

package mmapkv

// minMapped is how many mappings a store of many segments has at least. Race
// builds have none.
const minMapped = 0
