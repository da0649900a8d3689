// Package layering has no code, only tests of which package imports which, and of how
// the rooms are kept.
//
// What must hold, on every system that the library supports, with and without
// the build tags:
//
//   - Imports go down only: mmapkv, then segment, index and fsync, then internal.
//     Siblings do not import siblings, but for vfs, the ground they stand on.
//   - Nothing imports cmd, fuzz or perf, and no library code imports a test disk,
//     a model or the oracle.
//   - Outside the standard library, mmapkv needs three modules and no more.
//   - A new package is in the list of the test, or the test fails; no Go file is in
//     another place.
//   - Files, functions and the type Store keep within the limits that tidy_test.go
//     names; every exported name of the library is documented; every mutex says what it
//     guards; nothing but tests and benchmarks asks for a garbage collection. What is
//     beyond a limit is in testdata/exceptions.txt, and may only shrink.
package layering
