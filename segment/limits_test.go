package segment

import (
	"math/rand/v2"
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
			t.Fatalf("a hint of %d bytes for %d, and the most is %d", len(content), end, MaxHintSize(end))
		}
	}
}

func TestMaxManifestSizeIsEnough(t *testing.T) {
	m := Manifest{Segments: make([]SegmentInfo, maxSegments)}
	if size := len(m.Append(nil)); size > MaxManifestSize {
		t.Errorf("a manifest of %d bytes, and the most is %d", size, MaxManifestSize)
	}
}
