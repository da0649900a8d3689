// Package fsync answers one question: is it safe yet?
//
//   - Policy says when a write has to be on disk.
//   - Group lets concurrent writers share one write and one sync.
//   - Syncer knows what is written and what is durable, syncs as the policy
//     says, and keeps the first failure for ever.
//   - Publish replaces a file: write aside, sync, rename, sync the directory.
//
// It knows nothing of what is written: a write is a sequence number, a sync is a
// function.
//
// What must hold:
//
//   - A write is durable only once a sync that began after it has succeeded.
//   - A failed sync is never retried. The kernel drops the pages that it could not
//     write, and the next fsync reports success.
//   - No caller waits for ever, even when a commit panics or a sync fails.
//
// The locks of this package are leaves: Group calls no function of its caller, and
// Syncer releases its mutex before it calls one. The exception is the lock that lets
// only one sync run at a time.
package fsync
