package mmapkv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// example opens a store in a fresh directory. done closes and removes it.
func example(o *mmapkv.Options) (store *mmapkv.Store, done func()) {
	dir, err := os.MkdirTemp("", "mmapkv-example")
	check(err)
	store, err = mmapkv.Open(filepath.Join(dir, "store"), o)
	check(err)
	return store, func() {
		check(store.Close())
		check(os.RemoveAll(dir))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "mmapkv-example")
	check(err)
	defer os.RemoveAll(dir)

	store, err := mmapkv.Open(dir, nil)
	check(err)
	check(store.Put([]byte("user:1"), []byte("alice")))
	check(store.Close())

	store, err = mmapkv.Open(dir, nil)
	check(err)
	defer store.Close()
	value, err := store.Get([]byte("user:1"))
	check(err)
	fmt.Printf("%s\n", value)
	// Output: alice
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "mmapkv-example")
	check(err)
	defer os.RemoveAll(dir)

	// Every write is on disk before Put returns.
	store, err := mmapkv.Open(filepath.Join(dir, "a", "b"), &mmapkv.Options{Sync: fsync.Always})
	check(err)
	defer store.Close()

	_, err = mmapkv.Open(filepath.Join(dir, "a", "b"), nil)
	fmt.Println(errors.Is(err, mmapkv.ErrLocked))
	// Output: true
}

func ExampleOpenNamespace() {
	root, err := os.MkdirTemp("", "mmapkv-example")
	check(err)
	defer os.RemoveAll(root)
	check(os.Setenv("MMAPKV_DIR", root))
	defer os.Unsetenv("MMAPKV_DIR")

	store, err := mmapkv.OpenNamespace("sessions", nil)
	check(err)
	defer store.Close()

	_, err = mmapkv.OpenNamespace("../elsewhere", nil)
	fmt.Println(errors.Is(err, mmapkv.ErrNamespace))
	// Output: true
}

func ExampleRoot() {
	check(os.Setenv("MMAPKV_DIR", "/var/lib/service"))
	defer os.Unsetenv("MMAPKV_DIR")
	fmt.Println(mmapkv.Root())
	// Output: /var/lib/service
}

func ExampleStore_Get() {
	store, done := example(nil)
	defer done()
	_, err := store.Get([]byte("nobody"))
	fmt.Println(errors.Is(err, mmapkv.ErrNotFound))
	// Output: true
}

func ExampleStore_AppendGet() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("name"), []byte("alice")))

	buffer := make([]byte, 0, 64) // reused by every read
	buffer, err := store.AppendGet(append(buffer, "hello, "...), []byte("name"))
	check(err)
	fmt.Printf("%s\n", buffer)
	// Output: hello, alice
}

func ExampleStore_View() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("list"), []byte("a,b,c")))

	// The value is not copied. Do not use it after the function returns.
	err := store.View([]byte("list"), func(value []byte) error {
		fmt.Println(len(value), "bytes, starting with", string(value[:1]))
		return nil
	})
	check(err)
	// Output: 5 bytes, starting with a
}

func ExampleStore_GetMany() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("user:1"), []byte("alice")))
	check(store.Put([]byte("user:3"), []byte("carol")))
	keys := [][]byte{[]byte("user:1"), []byte("user:2"), []byte("user:3")}
	names := make([]string, len(keys))
	check(store.GetMany(keys, func(i int, value []byte, err error) error {
		if errors.Is(err, mmapkv.ErrNotFound) {
			return nil
		}
		names[i] = string(value)
		return err
	}))
	fmt.Printf("%q\n", names)
	// Output: ["alice" "" "carol"]
}

func ExampleStore_Has() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("here"), nil))
	for _, key := range []string{"here", "there"} {
		has, err := store.Has([]byte(key))
		check(err)
		fmt.Println(key, has)
	}
	// Output:
	// here true
	// there false
}

func ExampleStore_Len() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("a"), []byte("1")))
	check(store.Put([]byte("a"), []byte("2")))
	fmt.Println(store.Len())
	// Output: 1
}

func ExampleStore_Put() {
	store, done := example(nil)
	defer done()
	key, value := []byte("counter"), []byte("1")
	check(store.Put(key, value))
	value[0] = '9' // the store has its own copy
	got, err := store.Get(key)
	check(err)
	fmt.Printf("%s\n", got)
	// Output: 1
}

func ExampleStore_PutWithTTL() {
	store, done := example(nil)
	defer done()
	check(store.PutWithTTL([]byte("session"), []byte("token"), 20*time.Millisecond))
	time.Sleep(30 * time.Millisecond)
	_, err := store.Get([]byte("session"))
	fmt.Println(errors.Is(err, mmapkv.ErrNotFound))
	// Output: true
}

func ExampleStore_TTL() {
	store, done := example(nil)
	defer done()
	check(store.PutWithTTL([]byte("session"), []byte("token"), time.Hour))
	left, expires, err := store.TTL([]byte("session"))
	check(err)
	fmt.Println(expires, left > 59*time.Minute, left <= time.Hour)
	// Output: true true true
}

func ExampleStore_Delete() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("a"), []byte("1")))
	check(store.Delete([]byte("a")))
	check(store.Delete([]byte("a"))) // not an error
	fmt.Println(store.Len())
	// Output: 0
}

func ExampleStore_Write() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("account:1"), []byte("100")))

	// After a crash, either all of the batch is there or nothing.
	var batch mmapkv.Batch
	batch.Put([]byte("account:1"), []byte("70"))
	batch.Put([]byte("account:2"), []byte("30"))
	batch.PutWithTTL([]byte("receipt"), []byte("30 from 1 to 2"), 24*time.Hour)
	check(store.Write(&batch))
	fmt.Println(batch.Len(), store.Len())
	// Output: 3 3
}

func ExampleStore_Keys() {
	store, done := example(nil)
	defer done()
	for _, key := range []string{"c", "a", "b"} {
		check(store.Put([]byte(key), nil))
	}
	var keys []string
	for key := range store.Keys() {
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	fmt.Println(keys)
	// Output: [a b c]
}

func ExampleStore_Range() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("a"), []byte("one")))
	check(store.Put([]byte("b"), []byte("two")))
	total := 0
	err := store.Range(func(key, value []byte) error {
		total += len(value)
		return nil
	})
	check(err)
	fmt.Println(total)
	// Output: 6
}

func ExampleStore_Sync() {
	store, done := example(&mmapkv.Options{Sync: fsync.Never})
	defer done()
	check(store.Put([]byte("a"), []byte("1")))
	check(store.Sync()) // now it survives a power loss
	fmt.Println(store.Stats().LastSync.IsZero())
	// Output: false
}

func ExampleStore_Compact() {
	store, done := example(nil)
	defer done()
	for range 100 {
		check(store.Put([]byte("a"), make([]byte, 1000)))
	}
	before := store.Stats().DeadBytes
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	check(store.Compact(ctx))
	fmt.Println(before > 90_000, store.Stats().DeadBytes)
	// Output: true 0
}

func ExampleStore_Stats() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("a"), []byte("1")))
	stats := store.Stats()
	fmt.Println(stats.Keys, len(stats.Segments), stats.Err)
	// Output: 1 1 <nil>
}

func ExampleStore_Close() {
	store, done := example(nil)
	done()
	fmt.Println(errors.Is(store.Put([]byte("a"), nil), mmapkv.ErrClosed), store.Close())
	// Output: true <nil>
}

func ExampleCorruptError() {
	// The error that reads, Open and Compact return for damage says where it is.
	var err error = &mmapkv.CorruptError{File: "0000000000000001.seg", Offset: 4096, Reason: "the checksum does not match"}
	var corrupt *mmapkv.CorruptError
	if errors.Is(err, mmapkv.ErrCorrupt) && errors.As(err, &corrupt) {
		fmt.Println(corrupt.File, corrupt.Offset)
	}
	// Output: 0000000000000001.seg 4096
}
