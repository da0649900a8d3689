package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/inject"
)

// GetMany calls back once for each key, with the result of Get.
func TestGetManyIsGetForEach(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o := byHand()
	inject.Into(o, &inject.Seams{Manual: true, Now: func() time.Time { return now }})
	dir := t.TempDir()
	s := open(t, dir, o)
	fill(t, s, 0, 150, 100)
	fill(t, s, 150, 153, 5000) // each in a file of its own
	if err := s.PutWithTTL([]byte("short"), []byte("lived"), time.Second); err != nil {
		t.Fatal(err)
	}
	put(t, s, "", "of the empty key")
	closeStore(t, s)
	rot(t, dir, 1)
	s = open(t, dir, o)
	now = now.Add(time.Minute)
	var keys [][]byte
	for i := range 200 { // 47 of them are absent
		key, _ := numbered(i, 0)
		keys = append(keys, key)
	}
	keys = append(keys, []byte("short"), nil, keys[7], make([]byte, MaxKeySize+1))
	for n := range len(keys) + 1 {
		calls := make([]int, n)
		damaged := 0
		err := s.GetMany(keys[:n], func(i int, value []byte, err error) error {
			calls[i]++
			want, wantErr := s.Get(keys[i])
			if !bytes.Equal(value, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("key %d: %.20q, %v; want %.20q, %v", i, value, err, want, wantErr)
			}
			if errors.Is(err, ErrCorrupt) {
				damaged++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range calls {
			if c != 1 {
				t.Fatalf("fn was called %d times for key %d of %d", c, i, n)
			}
		}
		if n == len(keys) && damaged == 0 {
			t.Error("no record was damaged")
		}
	}
}

// rot flips a bit in the middle of a segment.
func rot(t *testing.T, dir string, which int) {
	t.Helper()
	name := segmentFiles(t, dir)[which]
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := len(content) / 2
	if _, err := f.WriteAt([]byte{content[at] ^ 4}, int64(at)); err != nil {
		t.Fatal(err)
	}
}

func TestGetManyEndsWithTheCallbacksError(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	fill(t, s, 0, 10, 100)
	key, _ := numbered(3, 0)
	mine, calls := errors.New("mine"), 0
	for _, keys := range [][][]byte{{key, key, key}, {[]byte("absent"), key}} {
		calls = 0
		err := s.GetMany(keys, func(int, []byte, error) error { calls++; return mine })
		if err != mine || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
	}
	err := s.GetMany([][]byte{key, key}, func(int, []byte, error) error {
		calls++
		closeStore(t, s)
		return nil
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("closed meanwhile: %v", err)
	}
	if err := s.GetMany(nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A callback may change the keys that come after its own.
func TestGetManyOfKeysThatChange(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 10, 100)
	var keys [][]byte
	for range 10 {
		keys = append(keys, []byte("absent"))
	}
	err := s.GetMany(keys, func(i int, value []byte, err error) error {
		want, wantErr := s.Get(keys[i])
		if !bytes.Equal(value, want) || err != wantErr || i > 0 && err != nil {
			t.Errorf("key %d: %.20q, %v; want %.20q, %v", i, value, err, want, wantErr)
		}
		if i+1 < len(keys) {
			keys[i+1], _ = numbered(i, 0)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
