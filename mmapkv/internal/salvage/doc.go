// Package salvage rescues what is left of a damaged store: it reads all that still
// validates, and writes it to a new store.
//
// What must hold:
//
//   - It creates and changes nothing in the damaged store.
//   - For each key the record with the highest sequence number decides, never a clock or
//     the order of files. A deleted or expired key does not come back, and no older value
//     takes the place of a lost one unless the caller asks for that.
//   - What is lost is reported.
//   - The new store becomes one that Open accepts only after all of it was written, synced,
//     and read back. Otherwise nothing is left of it but the directory and its LOCK.
//   - It reads on past whatever the disk refuses, and stops when the context ends or when
//     the system lacks something that is not the fault of disk or store.
//
// # Which records count
//
// With a readable manifest, those that Open would take: of the files that it names, up to
// the ends that it names, and in unsealed files as far as package replay follows the log. As in
// recovery, all that a partial hint covers was on disk.
//
// Without one, nothing tells a torn end from damage. So all that validates counts, with
// three exceptions:
//
//   - Numbers that the log passes over. They were written and never acknowledged; the
//     first record of the next file names them.
//   - A batch at the end of the log that is not whole, as far as it was not known to be on
//     disk.
//   - The files that a finished compaction has replaced. The tombstones that ended their
//     records are gone.
package salvage
