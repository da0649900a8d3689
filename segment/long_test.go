package segment

import (
	"bytes"
	"testing"
)

func TestLongRecordEqualsADraft(t *testing.T) {
	value := bytes.Repeat([]byte("0123456789"), 100)
	for _, expiry := range []int64{0, 77} {
		for _, p := range []Placement{fullPlacement, {Salt: testSalt, Offset: 64, Seq: 1}} {
			want := encode(p, "key", string(value), expiry)
			f, err := newTestDir(t).Create("long")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			flags := p.first() | flagIf(expiry != 0, Expires)
			valueAt := p.Offset + LongLayout(len("key"), flags)
			sum, err := WriteLongValue(f, valueAt, value, make([]byte, 64))
			if err != nil {
				t.Fatal(err)
			}
			head := LongHeader([]byte("key"), int64(len(value)), sum, expiry, p)
			if p.Offset+int64(len(head)) != valueAt {
				t.Errorf("the head ends at %d, but the value begins at %d", p.Offset+int64(len(head)), valueAt)
			}
			written := make([]byte, len(value))
			if _, err := f.ReadAt(written, valueAt); err != nil {
				t.Fatal(err)
			}
			got := append(head, written...)
			got = append(got, make([]byte, len(want)-len(got))...)
			if !bytes.Equal(got, want) {
				t.Errorf("expiry %d: the record differs from a draft's", expiry)
			}
		}
	}
}
