// Package check finds damage: it reads every record, every hint and the manifest of a
// store, and says what is not as it was written.
//
// What must hold:
//
//   - A check takes no lock and changes nothing. It works beside a writer, in this
//     process or another, and on read-only media.
//   - It reports no damage where there is none. Beside a writer, and after a crash, what
//     lies beyond the last known sync is still moving or was never promised.
//   - It goes on past damage, and past what the disk refuses to read.
//   - Whatever the files say, memory is bounded: by the largest segment for the check, by
//     maxDamages and maxKeyBytes for what it reports.
//
// # Beside a writer
//
// Verify relies on three things. A sealed file never changes while the manifest lists it,
// and once opened it can be read even after it is gone. The manifest lists a file before
// anybody knows that a record in it is on disk. So all records up to a watermark are in
// the files of any manifest that is read later than the watermark, and only those records
// have to be there.
package check
