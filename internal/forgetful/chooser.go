package forgetful

import "math/bits"

// Chooser decides what survives a power cut. Intn returns a number in [0, n).
// Always 0 keeps nothing, always n-1 keeps everything.
type Chooser interface {
	Intn(n int) int
}

// KeepAll lets everything arrive that was written.
var KeepAll Chooser = keepAll{}

// KeepNothing lets nothing arrive but what was synced.
var KeepNothing Chooser = keepNothing{}

type keepAll struct{}

func (keepAll) Intn(n int) int { return n - 1 }

type keepNothing struct{}

func (keepNothing) Intn(int) int { return 0 }

// Seeded returns a Chooser of random answers, always the same for a seed. The
// questions are such that per file everything, nothing, a prefix, and all but a
// hole are each as likely as one chance in six; otherwise it is any subset.
func Seeded(seed uint64) Chooser { return &seeded{state: seed} }

// seeded is SplitMix64.
type seeded struct{ state uint64 }

func (s *seeded) Intn(n int) int {
	high, _ := bits.Mul64(s.next(), uint64(n))
	return int(high)
}

func (s *seeded) next() uint64 {
	s.state += 0x9e3779b97f4a7c15
	z := s.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
