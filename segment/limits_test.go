package segment

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestMaxHintSizeIsEnough(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var b HintBuilder
		end := int64(HeaderSize)
		for i := range round {
			if rng.IntN(4) == 0 {
				b.AddDamage(Damage{Offset: end, Length: Alignment})
				end += Alignment
			}
			key := make([]byte, rng.IntN(1+round/4))
			for j := range key {
				key[j] = byte(i >> (8 * j))
			}
			size := RecordSize(len(key), 0, 0)
			b.Add(Entry{Key: key, Offset: end, Size: size, Seq: uint64(i + 1)})
			end += size
		}
		b.AddDamage(Damage{Offset: end, Length: 1})
		end++
		content := b.Encode(1, 2, End{Offset: end, Seq: 3}, 0)
		if int64(len(content)) > MaxHintSize(end) {
			t.Fatalf("a hint of %d bytes covers %d, but MaxHintSize is %d", len(content), end, MaxHintSize(end))
		}
	}
}

func TestMaxManifestSizeIsEnough(t *testing.T) {
	m := Manifest{Segments: make([]SegmentInfo, maxSegments)}
	if size := len(m.Append(nil)); size > MaxManifestSize {
		t.Errorf("a manifest of %d bytes, but MaxManifestSize is %d", size, MaxManifestSize)
	}
}

// shortLivedReader fails from the nth read on.
type shortLivedReader struct {
	io.ReaderAt
	left int
}

var errUnread = errors.New("unreadable")

func (r *shortLivedReader) ReadAt(p []byte, offset int64) (int, error) {
	if r.left--; r.left < 0 {
		return 0, errUnread
	}
	return r.ReaderAt.ReadAt(p, offset)
}

// A record lies across the end of the window, and the bytes after the window cannot be read.
func TestScannerTellsWhatCannotBeRead(t *testing.T) {
	for _, keySize := range []int{5, 2 * longHead} {
		for inWindow := int64(0); inWindow <= 64; inWindow += Alignment {
			for _, bad := range []bool{false, true} {
				first := RecordSize(5, 0, 0)
				data := encode(Placement{Salt: testSalt, Offset: HeaderSize, Seq: 1}, "first", "", 0)
				filler := HeaderSize + scanWindow - inWindow - (HeaderSize + first)
				filler -= RecordSize(0, 0, 0)
				data = append(make([]byte, HeaderSize), data...)
				at := int64(len(data))
				data = append(data, encode(Placement{Salt: testSalt, Offset: at, Seq: 2}, "", string(make([]byte, filler)), 0)...)
				if bad {
					data[at+RecordHeaderSize-1] ^= 1
				}
				data = append(data, encode(Placement{Salt: testSalt, Offset: int64(len(data)), Seq: 3},
					strings.Repeat("k", keySize), strings.Repeat("v", 100), 0)...)
				r := &shortLivedReader{ReaderAt: bytes.NewReader(data), left: 1}
				if err := scanAll(NewScanner(r, testSalt, HeaderSize, int64(len(data)))); err != errUnread {
					t.Errorf("keys of %d, %d bytes in the window, bad %v: %v", keySize, inWindow, bad, err)
				}
			}
		}
	}
}

// scanAll reads all records, skips damage, and returns the error that ends the scan.
func scanAll(s *Scanner) error {
	for {
		_, err := s.Next()
		if errors.Is(err, ErrBadRecord) {
			_, err = s.Resync(1)
		}
		if err != nil {
			return err
		}
	}
}
