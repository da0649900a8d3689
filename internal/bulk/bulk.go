// Package bulk grows and copies long byte slices piece by piece.
//
// The runtime cannot preempt a goroutine within one copy, one clear, or one growth by append,
// however long it takes. With 40 MB on pages that the system has yet to provide, it can take a
// second. A garbage collector that wants to stop the goroutine waits that long, and all other
// goroutines wait for the collector.
//
// What must hold: no call copies or clears more than a piece at once. Apart from that, the
// functions do what append and copy do, for slices that do not overlap.
package bulk

import "slices"

// piece is how many bytes are copied at once.
const piece = 64 << 10

// Append appends src to dst.
func Append(dst, src []byte) []byte {
	if len(src) <= piece && (len(src) <= cap(dst)-len(dst) || len(dst) <= piece) {
		return append(dst, src...)
	}
	return appendPieces(Grow(dst, len(src)), src)
}

func appendPieces(dst, src []byte) []byte {
	for some := range slices.Chunk(src, piece) {
		dst = append(dst, some...)
	}
	return dst
}

// Grow makes room for n more bytes after s.
func Grow(s []byte, n int) []byte {
	if n <= cap(s)-len(s) || len(s)+n <= piece {
		return slices.Grow(s, n)
	}
	// make clears memory in pieces.
	grown := make([]byte, 0, max(len(s)+n, cap(s)+cap(s)/4))
	return appendPieces(grown, s)
}

// Copy copies as much of src to dst as fits, and returns the number of bytes.
func Copy(dst, src []byte) (n int) {
	for n < min(len(dst), len(src)) {
		n += copy(dst[n:], src[n:min(n+piece, len(src))])
	}
	return n
}
