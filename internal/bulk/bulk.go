// Package bulk grows and copies long byte slices piece by piece.
//
// The runtime cannot preempt a goroutine within one copy, one clear, or one growth
// by append, however long it takes; when the bytes are on pages that are yet to be
// provided, 40 MB can take a second. The garbage collector, when it wants to stop
// that goroutine, waits as long, and everybody else for the collector.
//
// What must hold: no call copies or clears more than a piece at once. Otherwise the
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

// Grow makes room for n more bytes behind s.
func Grow(s []byte, n int) []byte {
	if n <= cap(s)-len(s) || len(s)+n <= piece {
		return slices.Grow(s, n)
	}
	// make clears in pieces what it clears.
	grown := make([]byte, 0, max(len(s)+n, cap(s)+cap(s)/4))
	return appendPieces(grown, s)
}

// Copy copies src to the beginning of dst, as much as fits, and returns how much.
func Copy(dst, src []byte) (n int) {
	for n < min(len(dst), len(src)) {
		n += copy(dst[n:], src[n:min(n+piece, len(src))])
	}
	return n
}
