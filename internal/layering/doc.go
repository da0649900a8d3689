// Package layering has no code, only tests of which package imports which, and of
// what none of them calls.
//
// What must hold, on every system that the library supports, with and without
// the build tags:
//
//   - Imports go down only: mmapkv, then segment, index and fsync, then internal.
//     Siblings do not import siblings, but for vfs, the ground they stand on.
//   - Nothing imports cmd, fuzz or perf, and no library code imports a test disk,
//     a model or the oracle.
//   - Outside the standard library, mmapkv needs three modules and no more.
//   - Only tests and perf run the garbage collector, or rely on when it runs.
//   - A new package is in the list of the test, or the test fails.
package layering
