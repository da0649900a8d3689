package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// keySize is the size of every key, and minValueSize the minimum size of a value, in
// bytes: a value begins with its key's number and a version.
const (
	keySize      = 24
	minValueSize = 16
)

// data is keys of one size with values of one size. The values are distinct noise,
// which does not compress.
type data struct {
	keys, valueSize int
	zipf            zipf
	noise           []byte
}

// noiseSize is the size of the noise that values are cut from, small enough to stay in
// a cache of the processor.
const noiseSize = 256 << 10

func newData(keys, valueSize int) *data {
	d := &data{keys: keys, valueSize: valueSize, zipf: newZipf(keys), noise: make([]byte, noiseSize+valueSize)}
	_, _ = rand.NewChaCha8([32]byte{}).Read(d.noise) // it never fails
	return d
}

// mix is a bijection that spreads numbers over 64 bits (splitmix64).
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

const digits = "0123456789abcdef"

// appendKey appends the key of a number. The order of the keys is unrelated to the
// order of their numbers.
func appendKey(buffer []byte, i int) []byte {
	buffer = appendHex(buffer, mix(uint64(i)), 16)
	return appendHex(buffer, uint64(i), keySize-16)
}

func appendHex(buffer []byte, n uint64, size int) []byte {
	for shift := 4 * (size - 1); shift >= 0; shift -= 4 {
		buffer = append(buffer, digits[n>>shift&15])
	}
	return buffer
}

// checkValue returns an error if a value is not the key's.
func (d *data) checkValue(i int, value []byte) error {
	if len(value) != d.valueSize || binary.LittleEndian.Uint64(value) != uint64(i) {
		return fmt.Errorf("key %d has a value of %d bytes that is not its own", i, len(value))
	}
	return nil
}

// source makes the keys and values that one goroutine reads and writes.
type source struct {
	*data
	stream         uint64 // different for each goroutine
	random         *rand.Rand
	version        uint64
	key, value     []byte
	copied         []byte
	batch          []workload.Pair // of the last call of pairs
	keys           [][]byte        // of the last call of someKeys
	reading        int             // the key that check is for
	check          func(value []byte) error
	checkOneOfMany func(value []byte) error
}

func (d *data) newSource(seed, stream uint64) *source {
	s := &source{data: d, stream: stream, random: rand.New(rand.NewPCG(seed, stream)), value: make([]byte, d.valueSize)}
	s.version = mix(seed) + stream<<40
	s.check = func(value []byte) error { return s.checkValue(s.reading, value) }
	s.checkOneOfMany = func(value []byte) error {
		if len(value) != s.valueSize || binary.LittleEndian.Uint64(value) >= uint64(s.data.keys) {
			return fmt.Errorf("a value of %d bytes belongs to no key", len(value))
		}
		return nil
	}
	return s
}

func (s *source) uniform() int { return s.random.IntN(s.data.keys) }

// popular is a random number of which a few are frequent. The popular ones are spread
// over all keys.
func (s *source) popular() int {
	return int(mix(uint64(s.zipf.rank(s.random.Float64()))) % uint64(s.data.keys))
}

// pair is a key with a new value, both valid until the next call.
func (s *source) pair(i int) (key, value []byte) {
	s.key = appendKey(s.key[:0], i)
	s.fill(s.value, i)
	return s.key, s.value
}

func (s *source) fill(value []byte, i int) {
	s.version++
	copy(value, s.noise[mix(s.version)%noiseSize:])
	binary.LittleEndian.PutUint64(value, uint64(i))
	binary.LittleEndian.PutUint64(value[8:], s.version)
}

// pairs returns n pairs with new values, valid until the next call; number gives the
// number of each key.
func (s *source) pairs(n int, number func() int) []workload.Pair {
	for len(s.batch) < n {
		s.batch = append(s.batch, workload.Pair{Value: make([]byte, s.valueSize)})
	}
	s.batch = s.batch[:n]
	for j := range s.batch {
		i := number()
		s.batch[j].Key = appendKey(s.batch[j].Key[:0], i)
		s.fill(s.batch[j].Value, i)
	}
	return s.batch
}

// someKeys returns n random keys, valid until the next call.
func (s *source) someKeys(n int) [][]byte {
	for len(s.keys) < n {
		s.keys = append(s.keys, nil)
	}
	for j := range s.keys {
		s.keys[j] = appendKey(s.keys[j][:0], s.uniform())
	}
	return s.keys
}

// versionOf is the version that fill wrote.
func versionOf(value []byte) uint64 { return binary.LittleEndian.Uint64(value[8:]) }

// theta is the skew of YCSB's popular keys.
const theta = 0.99

// zipf draws ranks as YCSB does (Gray et al., "Quickly generating billion-record
// synthetic databases", 1994).
type zipf struct {
	items                  int
	zeta, alpha, eta, half float64
}

func newZipf(items int) zipf {
	zeta := 0.0
	for i := range items {
		zeta += math.Pow(float64(i+1), -theta)
	}
	half := math.Pow(0.5, theta)
	return zipf{
		items: items,
		zeta:  zeta,
		alpha: 1 / (1 - theta),
		eta:   (1 - math.Pow(2/float64(items), 1-theta)) / (1 - (1+half)/zeta),
		half:  half,
	}
}

// rank maps a u in [0, 1) to a rank; 0 is the most popular.
func (z zipf) rank(u float64) int {
	switch uz := u * z.zeta; {
	case uz < 1:
		return 0
	case uz < 1+z.half:
		return min(1, z.items-1)
	}
	return min(int(float64(z.items)*math.Pow(z.eta*u-z.eta+1, z.alpha)), z.items-1)
}
