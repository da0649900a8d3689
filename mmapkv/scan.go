package mmapkv

import (
	"errors"
	"io"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/mmapkv/internal/replay"
	"github.com/mmapkv/mmapkv/segment"
)

// What is in the unsealed files: package replay decides what of that counts.

// eachRecord calls fn with each record of an unsealed file that validates and that is
// credible, where the manifest knows of numbers up to lastSeq.
func eachRecord(scanner *segment.Scanner, lastSeq uint64, fn func(segment.Entry)) error {
	var last uint64
	for {
		e, err := scanner.Next()
		if errors.Is(err, segment.ErrBadRecord) {
			e, err = scanner.Resync(last + 1)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case replay.Credible(&e, lastSeq):
			last = e.Seq
			fn(e)
		}
	}
}

// records are those of a file, in order. They are millions at times, and in chunks:
// one slice that grows would copy them again and again.
type records struct {
	chunks [][]replay.Record
	count  int
}

const recordsInChunk = 16 << 10

func (r *records) add(one replay.Record) {
	if r.count%recordsInChunk == 0 {
		r.chunks = append(r.chunks, make([]replay.Record, 0, min(r.count, recordsInChunk)))
		prefetch.Pages(r.chunks[len(r.chunks)-1])
	}
	last := &r.chunks[len(r.chunks)-1]
	*last = append(*last, one)
	r.count++
}

func (r *records) at(i int) replay.Record { return r.chunks[i/recordsInChunk][i%recordsInChunk] }

// scannedFile is what the scan found in an unsealed file.
type scannedFile struct {
	replay.File
	records
	watermark uint64 // the highest that any record carries
}

// scanFile finds what is in an unsealed file, of which the places of its records are
// known. each, if not nil, is called with every record.
func scanFile(f io.ReaderAt, salt uint64, known replay.File, lastSeq uint64, each func(segment.Entry)) (*scannedFile, error) {
	found := &scannedFile{File: known}
	err := eachRecord(segment.NewScanner(f, salt, known.DataStart, known.Size), lastSeq, func(e segment.Entry) {
		if e.Offset == known.DataStart {
			found.HasFirst, found.Previous = true, e.Previous
		}
		if e.Flags&segment.HasWatermark != 0 {
			found.watermark = max(found.watermark, e.Watermark)
		}
		found.add(replay.RecordOf(&e))
		if each != nil {
			each(e)
		}
	})
	return found, err
}

// replayFiles decides what counts of the unsealed files. damaged is told of the records
// that count and whose values are damaged: the place of the file, and the record.
func replayFiles(files []*scannedFile, sealedSeq, watermark uint64, damaged func(i int, r replay.Record)) []replay.Part {
	known := make([]replay.File, len(files))
	for i, f := range files {
		known[i] = f.File
	}
	log := replay.New(known, sealedSeq, watermark)
	for i, f := range files {
		for n := range f.count {
			r := f.at(n)
			if counts, _ := log.Add(r); counts && !r.ValueOK {
				damaged(i, r)
			}
		}
		log.EndFile()
	}
	return log.Finish()
}
