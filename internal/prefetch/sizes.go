package prefetch

// Ahead is how many records ahead of the one in hand a loop asks for memory.
const Ahead = 16

// Batch is how many keys or records are asked for together. A few cache lines each, they
// stay in a processor's first cache until they are read.
const Batch = 64
