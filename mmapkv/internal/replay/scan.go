package replay

import (
	"io"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/segment"
)

// Each calls fn with each credible record that the scanner finds in an unsealed file. lastSeq is
// the highest number that the manifest knows. An Entry is valid until fn returns.
func Each(scanner *segment.Scanner, lastSeq uint64, fn func(segment.Entry)) error {
	return scanner.Each(func(e segment.Entry) bool {
		if !Credible(&e, lastSeq) {
			return false
		}
		fn(e)
		return true
	}, func(segment.Damage) {})
}

// Scanned is an unsealed file and the records that a scan found in it, behind those that are known.
type Scanned struct {
	File
	records
	Watermark uint64 // the highest that any record carries, 0 if none does
}

// ScanFile finds the credible records of an unsealed file. known says where its records can be;
// ScanFile looks behind Known, and sets HasFirst and Previous if it finds the first record there.
// lastSeq is the highest number that the manifest knows. ScanFile calls each, if it is not nil, with
// every record.
func ScanFile(f io.ReaderAt, salt uint64, known File, lastSeq uint64, each func(segment.Entry)) (*Scanned, error) {
	found := &Scanned{File: known, records: records{before: known.KnownRecords}}
	from := max(known.DataStart, known.Known.Offset)
	err := Each(segment.NewScanner(f, salt, from, known.Size), lastSeq, func(e segment.Entry) {
		if e.Offset == known.DataStart {
			found.HasFirst, found.Previous = true, e.Previous
		}
		if e.Flags&segment.HasWatermark != 0 {
			found.Watermark = max(found.Watermark, e.Watermark)
		}
		found.add(RecordOf(&e))
		if each != nil {
			each(e)
		}
	})
	return found, err
}

// Decide returns what counts of the unsealed files, which are in the order of the log. The other
// arguments are those of New. Decide calls damaged for each record that counts and whose value is
// damaged, with the index of its file.
func Decide(files []*Scanned, sealedSeq, watermark uint64, damaged func(i int, r Record)) []Part {
	known := make([]File, len(files))
	for i, f := range files {
		known[i] = f.File
	}
	log := New(known, sealedSeq, watermark)
	for i, f := range files {
		for n := range f.count {
			r := f.At(f.before + n)
			if counts, _ := log.Add(r); counts && !r.ValueOK {
				damaged(i, r)
			}
		}
		log.EndFile()
	}
	return log.Finish()
}

// records lists the records of a file, in order. There can be millions. So they are kept in chunks:
// a single slice would copy them again and again as it grows.
type records struct {
	chunks [][]Record
	count  int
	before int // records of the file that are not in the list, before the first one
}

const maxChunkRecords = 16 << 10

// Count returns the number of records found.
func (r *records) Count() int { return r.count }

func (r *records) add(one Record) {
	if r.count%maxChunkRecords == 0 {
		r.chunks = append(r.chunks, make([]Record, 0, min(r.count, maxChunkRecords)))
		prefetch.Pages(r.chunks[len(r.chunks)-1])
	}
	last := &r.chunks[len(r.chunks)-1]
	*last = append(*last, one)
	r.count++
}

// At returns the i-th record of the file, from 0. It must not be one of those that are known.
func (r *records) At(i int) Record {
	i -= r.before
	return r.chunks[i/maxChunkRecords][i%maxChunkRecords]
}
