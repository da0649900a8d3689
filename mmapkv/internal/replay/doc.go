// Package replay decides which records of a log count if nobody wrote down where the log ends. The
// decision is a pure function of what was found and of the watermark. Log decides and reads no
// file; ScanFile finds what is in one.
//
// # What is given
//
// The log is a list of files. The manifest says where the sealed ones end. A scan of each unsealed
// file, in the manifest's order, finds every record that validates, in order of offset. All records
// up to the watermark are known to have been on disk: whoever wrote it down had synced them before.
// A store has at most two unsealed files.
//
// What the writer does is given too. Within a file, records follow each other without a gap between
// them or between their numbers. The log moves to the next file only once it has ended in the one
// before, and the first record of the next file names that end: an offset and a number. The records
// of a batch follow each other in one file, and all but the last say that the batch goes on.
//
// # What must hold
//
//  1. Each record up to the watermark that was found counts, unless another file shows that the log
//     passes over it. What is missing up to the watermark is damage. It is reported, and the
//     log goes on after it.
//  2. After the watermark, what counts is a prefix of the order of commits. The log ends before the
//     first record that is missing or torn. Nothing after that counts, now or ever, however well it
//     validates.
//  3. A batch counts whole or not at all. Only damage takes a part out of one, so only a part that
//     was on disk.
//  4. A file counts only if the one before reaches the end that its first record names, or if
//     damage took what is missing of that.
//
// # Why the rule gives that
//
// If a record does not stand where the log is, or its number is not the next one, something is
// missing before it. There are three reasons why it can be missing.
//
//   - Its write failed midway. The writer gave up the number and ended the file there. Then the
//     next file's first record names the place that the log has reached, and what follows in this
//     file never counts: the log goes on in the next file. So the rule checks this reason first.
//   - A crash came before it was on disk. Then its number is after the watermark, and so are the
//     numbers of all records after it. None of them was ever known to be on disk, and dropping all
//     of them leaves a prefix.
//   - It was on disk, and cannot be read any more. Then the number before that of the found record
//     is not after the watermark.
//
// The second and the third exclude each other, since the watermark is either below the missing
// number or not. A value that does not match its checksum decides in the same way by its own
// number: either it was damaged, or not all of it reached the disk.
//
// Where a file ends, nothing is found after what is missing, and the next file's first record tells
// how far this one went. If that record cannot be read either, the watermark says whether anything
// is missing at all.
//
// A damaged range is never empty, even if the file was cut where a record ends. So whoever writes a
// hint of the file has a range to record the damage with. It ends before a record that was found
// and does not count: whatever lies before the end of a file, and validates, counts from now on.
//
// The first unsealed file is not compared with the sealed one before it: that one was sealed only
// after its last record, and the manifest knows its end.
//
// # Beside a writer
//
// Verify follows the log while it grows. What it passes in is of different times, and each
// difference is a parameter. It reads the watermark before it looks at the files, so it finds all
// records up to that. File is what was known when Verify looked at the file. The writer may add the
// first record between that look and the replay, and then the log goes on in that file.
package replay
