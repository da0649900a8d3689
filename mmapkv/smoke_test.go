package mmapkv

import (
	"fmt"
	"testing"
	"bytes"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	o := &Options{SegmentSize: 1 << 20}
	for round := range 3 {
		s, err := Open(dir, o)
		if err != nil { t.Fatal(err) }
		t.Logf("%+v", s.Stats().Recovery)
		if round > 0 && s.Len() != 30000 { t.Fatal(s.Len()) }
		for i := range 30000 {
			k := fmt.Appendf(nil, "key%d", i)
			v := bytes.Repeat([]byte{byte(i)}, 1024)
			if round == 0 {
				if err := s.Put(k, v); err != nil { t.Fatal(err) }
			}
			got, err := s.Get(k)
			if err != nil || !bytes.Equal(got, v) { t.Fatal(i, err) }
		}
		st := s.Stats()
		st.Segments = nil
		t.Logf("%+v", st)
		if err := s.Close(); err != nil { t.Fatal(err) }
	}
}
