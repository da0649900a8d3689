// Package fsync answers one question: is it safe yet?
//
//   - Policy says when a write has to be on disk.
//   - Group lets concurrent writers share one write and one sync.
//   - Syncer knows what is written and what is durable, syncs as the policy
//     says, and remembers the first failure for ever.
//   - Publish replaces a file: write aside, sync, rename, sync the directory.
//
// It knows nothing of what is written: a write is a sequence number, a sync is a
// function.
//
// What must hold:
//
//   - Nothing is called durable before a sync that began after it was written
//     has returned without an error.
//   - A sync that has failed is not repeated. The kernel drops the pages that it
//     could not write, and the second fsync says that all is well.
//   - Nobody waits for ever: not when a commit panics, not when a sync fails.
//
// The locks in here are leaves: Group calls no function of the caller, and Syncer's
// mutex is not held while one runs. The exception is the lock that keeps syncs from
// running twice at a time.
package fsync
