package crashfs

// image is the content of a file at one moment: bytes, then zeros up to size. Images share
// bytes until one of them changes.
type image struct {
	bytes []byte // at most size long; zeros between its length and its capacity
	size  int64
	owned bool   // no other image shares the bytes
	sum   uint64 // hash of bytes and size; 0: not known
}

// share returns a second image of the same content.
func (m *image) share() image {
	m.owned = false
	return *m
}

// reserve makes the first n bytes writable.
func (m *image) reserve(n int64) {
	m.sum = 0
	switch {
	case !m.owned || n > int64(cap(m.bytes)):
		grown := make([]byte, max(n, int64(len(m.bytes))), max(2*n, int64(len(m.bytes))))
		copy(grown, m.bytes)
		m.bytes, m.owned = grown, true
	case n > int64(len(m.bytes)):
		m.bytes = m.bytes[:n]
	}
}

func (m *image) write(p []byte, offset int64) {
	end := offset + int64(len(p))
	m.reserve(end)
	copy(m.bytes[offset:], p)
	m.size = max(m.size, end)
}

// setSize truncates the content, or extends it with zeros.
func (m *image) setSize(size int64) {
	m.sum = 0
	if size < int64(len(m.bytes)) {
		m.bytes = m.bytes[:size:size] // the rest is not zeros, so drop the capacity
	}
	m.size = size
}

// apply makes a change of the file in the image.
func (m *image) apply(c change) {
	switch c.kind {
	case wrote:
		m.write(c.data, c.at)
	case setLength:
		m.setSize(c.at)
	case extended:
		m.setSize(max(m.size, c.at))
	}
}

// hash is the same for the same content, however many of its zeros are stored.
func (m *image) hash() uint64 {
	if m.sum == 0 {
		end := len(m.bytes)
		for end > 0 && m.bytes[end-1] == 0 {
			end--
		}
		m.sum = mix(sumBytes(m.bytes[:end]), uint64(m.size))
	}
	return m.sum
}
