// Package replay decides what of a log counts when its end is not written down: a pure
// function of what was found and of the watermark. It knows no store. Log makes the
// decision and reads no file; ScanFile finds what is in one.
//
// # What is given
//
// The log is a list of files. The manifest says of the sealed ones where they end. Of
// each unsealed file, in the order of the manifest, a scan gives every record that
// validates, in order of offset. The watermark is a number up to which all records are
// known to have been on disk: whoever wrote it down had synced them before. A store has
// at most two unsealed files.
//
// What the writer does is given too. Within a file, records stand one behind the other
// and their numbers have no gap. The log changes to the next file only when it has
// ended in the one before, and the first record of the next file names that end: an
// offset and a number. The records of a batch lie in one file, one behind the other,
// and all but the last say that the batch goes on.
//
// # What must hold
//
//  1. Each record up to the watermark that was found counts, unless the file before
//     makes it one that the log passes over. What is missing up to the watermark is
//     damage. It is reported, and the log goes on behind it.
//  2. Beyond the watermark, what counts is a prefix of the order of commits. The log
//     ends in front of the first record that is missing or torn, and nothing behind
//     that counts, now or ever, however well it validates.
//  3. A batch counts whole or not at all. Only damage, so only what had been on disk,
//     takes a part out of one.
//  4. A file counts only if the one before reaches the end that its first record names,
//     or if damage took what is missing of that.
//
// # Why the rule gives that
//
// A record that does not stand where the log is, or whose number is not the next one,
// has something missing in front of it. There are three reasons why it can be missing.
//
//   - Its write failed in the middle. The writer gave its number up and ended the file
//     there. Then the next file's first record names the place that the log has reached,
//     and what lies behind in this file never counts: the log goes on in the next file.
//     So this is asked first.
//   - A crash came before it was on disk. Its number is then beyond the watermark, and
//     so are the numbers of all records behind it. None of them was ever known to be on
//     disk, and to drop all of them leaves a prefix.
//   - It was on disk, and cannot be read any more. The number in front of the record
//     that was found is then up to the watermark.
//
// The second and the third exclude each other, since the watermark is either below the
// missing number or not. A value that does not match its checksum decides in the same
// way by its own number: it was damaged, or it never came to the disk whole.
//
// Where a file ends, nothing is found behind what is missing, and the next file's first
// record tells how far this one went. If even that cannot be read, the watermark says
// whether anything is missing at all.
//
// A damaged range is never empty, so that whoever writes a hint of the file has a range
// that testifies to it, though the file was cut where a record ends.
//
// The first unsealed file is not compared with the sealed one before it: that was
// sealed only behind its last record, and the manifest knows its end.
//
// # Beside a writer
//
// Verify follows the log while it grows. What it gives is of different times, and each
// difference is a parameter. The watermark is one that was read before the files were
// looked at, so that all records up to it are found. File is what was known when the
// file was looked at: its first record can have been written between that and its
// replay, and then the log goes on in it.
package replay
