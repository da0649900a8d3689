package segment

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func readHeader(data []byte) (Header, error) {
	return ReadHeader(bytes.NewReader(data), int64(len(data)))
}

func TestHeaderGolden(t *testing.T) {
	golden(t, "header", exampleHeader())
	h, err := readHeader(readGolden(t, "header"))
	if want := (Header{ID: 9, Salt: testSalt, Kind: Merged, Replaces: []ID{3}}); err != nil || !reflect.DeepEqual(h, want) {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestHeaderIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Header{
			ID: ID(rapid.Uint64Min(1).Draw(t, "id")), Salt: rapid.Uint64().Draw(t, "salt"),
			Kind: rapid.SampledFrom([]Kind{Log, Merged}).Draw(t, "kind"),
		}
		for _, id := range rapid.SliceOfN(rapid.Uint64(), 0, 9).Draw(t, "replaces") {
			h.Replaces = append(h.Replaces, ID(id))
		}
		data := h.Append(nil)
		if int64(len(data)) != h.Size() {
			t.Fatalf("%d bytes, Size says %d", len(data), h.Size())
		}
		if got, err := readHeader(append(data, "records"...)); err != nil || !reflect.DeepEqual(got, h) {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

func TestHeaderRefusesEveryFlippedBitAndTruncation(t *testing.T) {
	data := exampleHeader()
	for bit := range 8 * len(data) {
		data[bit/8] ^= 1 << (bit % 8)
		if _, err := readHeader(data); !errors.Is(err, ErrHeader) && !errors.Is(err, ErrVersion) {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	for n := range data {
		if _, err := readHeader(data[:n]); !errors.Is(err, ErrHeader) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestHeaderOfAnotherVersion(t *testing.T) {
	data := exampleHeader()
	data[segVersionAt] = formatVersion + 1
	for range 2 {
		_, err := readHeader(data)
		var version *VersionError
		if !errors.Is(err, ErrVersion) || !errors.As(err, &version) || version.Version != formatVersion+1 {
			t.Error(err)
		} else if want := "segment: unknown format version 2, want 1"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
		for i := segVersionAt + 4; i < len(data); i++ {
			data[i] = 0xff // everything after the version may have another meaning
		}
	}
}

func TestHostileHeaderAllocatesLittle(t *testing.T) {
	data := exampleHeader()
	for i := range 4 {
		data[segReplacedAt+i], data[segHeaderSizeAt+i] = 0xff, 0xff
	}
	if _, err := ReadHeader(bytes.NewReader(data), math.MaxInt64); !errors.Is(err, ErrHeader) {
		t.Error(err)
	}
}

func TestHeaderRefusesWhatNoStoreWrites(t *testing.T) {
	for name, data := range map[string][]byte{
		"zeros":        make([]byte, 1<<10),
		"ones":         bytes.Repeat([]byte{0xff}, 1<<10),
		"id 0":         Header{Salt: testSalt, Kind: Log}.Append(nil),
		"unknown kind": Header{ID: 1, Salt: testSalt, Kind: Merged + 1}.Append(nil),
	} {
		if _, err := readHeader(data); !errors.Is(err, ErrHeader) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHeaderReturnsErrorsOfReading(t *testing.T) {
	if _, err := ReadHeader(failingReader{io.ErrClosedPipe}, 1<<10); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
