package bulk

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

var sizes = []int{0, 1, 100, piece - 1, piece, piece + 1, 3*piece + 17}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func TestAppendIsAppend(t *testing.T) {
	for _, have := range sizes {
		for _, room := range sizes {
			for _, more := range sizes {
				dst := append(make([]byte, 0, have+room), content(have)...)
				src := content(more)
				want := slices.Concat(dst, src)
				got := Append(dst, src)
				if !bytes.Equal(got, want) {
					t.Fatalf("appending %[3]d bytes to %[1]d with room for %[2]d: wrong content", have, room, more)
				}
				if stayed := cap(dst) > 0 && cap(got) > 0 && &got[:1][0] == &dst[:1][0]; more <= room && cap(dst) > 0 && !stayed {
					t.Errorf("appending %[3]d bytes to %[1]d with room for %[2]d moved them", have, room, more)
				}
			}
		}
	}
}

func TestAppendingLittleByLittleCopiesLittle(t *testing.T) {
	var dst []byte
	grown := 0
	for range 10_000 {
		before := cap(dst)
		dst = Append(dst, make([]byte, 1000))
		if cap(dst) != before {
			grown++
		}
	}
	if grown > 100 {
		t.Errorf("10 MB in pieces of 1 kB were moved %d times", grown)
	}
}

func TestGrow(t *testing.T) {
	for _, have := range sizes {
		for _, n := range sizes {
			s := content(have)
			if got := Grow(s, n); !bytes.Equal(got, s) || cap(got)-len(got) < n {
				t.Errorf("%d bytes grown by %d: %d bytes with room for %d", have, n, len(got), cap(got)-len(got))
			}
		}
	}
}

func TestCopyIsCopy(t *testing.T) {
	for _, to := range sizes {
		for _, from := range sizes {
			src, got, want := content(from), make([]byte, to), make([]byte, to)
			if n := Copy(got, src); n != copy(want, src) || !bytes.Equal(got, want) {
				t.Errorf("%d bytes to %d: %d copied", from, to, n)
			}
		}
	}
}
