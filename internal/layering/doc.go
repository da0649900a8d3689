// Package layering has no code. Its tests check which package imports which, and how tidy the
// rooms are. A room is a package.
//
// What must hold, on every system that the library supports, with and without build tags:
//
//   - Imports only go down: mmapkv, then segment, index and fsync, then internal. Siblings do
//     not import each other, except that any may import vfs.
//   - Nothing imports cmd, fuzz or perf. No library code imports a test disk, a model or the
//     oracle.
//   - Outside the standard library, mmapkv imports only three modules.
//   - The test lists every package. Every Go file is in a listed package.
//   - Files, functions and the type Store stay within the limits in tidy_test.go.
//     testdata/exceptions.txt lists what exceeds a limit; it may only shrink.
//   - Every exported name of the library is documented. Every mutex says what it guards. Only
//     tests and benchmarks ask for a garbage collection.
package layering
