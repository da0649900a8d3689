package salvage

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// copyTo reads the records of a list and calls put with each.
func (s *salvage) copyTo(list []version, put func(key, value []byte, expiry int64) error) error {
	var in *source
	var f *patient.Reader
	defer func() {
		if f != nil {
			_ = f.Close() // nothing was written to it
		}
	}()
	var buffer []byte
	for i, v := range list {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if from := s.sources[v.file]; from != in {
			if f != nil {
				_ = f.Close()
			}
			var err error
			if f, err = s.open(from.name); err != nil {
				f = nil
				return err
			}
			in = from
		}
		var r segment.Record
		var err error
		buffer, err = in.load(f, &r, buffer, v.offset())
		if err != nil {
			s.lose(LostKey{Key: slices.Clone(r.Key), File: in.name, Offset: v.offset(), Seq: v.seq})
			continue
		}
		if err := put(r.Key, r.Value, r.Expiry); err != nil {
			return err
		}
		s.report.Keys++
		s.report.Bytes += int64(len(r.Key)) + int64(len(r.Value))
		if r.Expiry != 0 {
			s.report.Expiring++
		}
		s.showProgress(s.total/2 + int64(float64(s.total/2)*float64(i+1)/float64(len(list))))
	}
	return nil
}

// progressStep is how often Progress is called, at most.
const progressStep = 1000

func (s *salvage) showProgress(done int64) {
	if s.Progress != nil && (done-s.done > s.total/progressStep || done == s.total) {
		s.done = done
		rank.AssertNone("SalvageOptions.Progress")
		s.Progress(done, s.total)
	}
}
