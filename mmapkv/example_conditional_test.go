package mmapkv_test

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func ExampleStore_PutIfAbsent() {
	store, done := example(nil)
	defer done()
	stored, err := store.PutIfAbsent([]byte("name"), []byte("alice"))
	check(err)
	fmt.Println(stored)
	stored, err = store.PutIfAbsent([]byte("name"), []byte("bob"))
	check(err)
	fmt.Println(stored)
	// Output:
	// true
	// false
}

// A lock that is released even if its owner does not come back.
func ExampleStore_PutIfAbsentWithTTL() {
	store, done := example(nil)
	defer done()
	lock := []byte("lock")
	locked, err := store.PutIfAbsentWithTTL(lock, []byte("worker 7"), time.Minute)
	check(err)
	fmt.Println(locked)
	// The owner releases it, unless it has expired and is somebody else's by now.
	released, err := store.CompareAndDelete(lock, []byte("worker 7"))
	check(err)
	fmt.Println(released)
	// Output:
	// true
	// true
}

// A counter that many goroutines may increase.
func ExampleStore_CompareAndSwap() {
	store, done := example(nil)
	defer done()
	counter := []byte("counter")
	check(store.Put(counter, []byte("41")))
	for {
		old, err := store.Get(counter)
		check(err)
		n, err := strconv.Atoi(string(old))
		check(err)
		swapped, err := store.CompareAndSwap(counter, old, strconv.AppendInt(nil, int64(n+1), 10))
		check(err)
		if swapped {
			break
		}
	}
	value, err := store.Get(counter)
	check(err)
	fmt.Printf("%s\n", value)
	// Output: 42
}

func ExampleStore_CompareAndDelete() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("key"), []byte("new")))
	deleted, err := store.CompareAndDelete([]byte("key"), []byte("old"))
	check(err)
	fmt.Println(deleted)
	deleted, err = store.CompareAndDelete([]byte("key"), []byte("new"))
	check(err)
	fmt.Println(deleted)
	// Output:
	// false
	// true
}

func ExampleStore_DeleteRange() {
	store, done := example(nil)
	defer done()
	for _, day := range []string{"2024-12-30", "2024-12-31", "2025-01-01", "2025-01-02"} {
		check(store.Put([]byte("log/"+day), []byte("...")))
	}
	check(store.DeleteRange(context.Background(), []byte("log/"), []byte("log/2025")))
	check(store.Scan(mmapkv.ScanOptions{KeysOnly: true}, func(key, _ []byte) error {
		fmt.Printf("%s\n", key)
		return nil
	}))
	// Output:
	// log/2025-01-01
	// log/2025-01-02
}

// The same changes go to another store.
func ExampleBatch_Each() {
	store, done := example(nil)
	defer done()
	var batch, copied mmapkv.Batch
	batch.Put([]byte("a"), []byte("1"))
	batch.PutWithTTL([]byte("b"), []byte("2"), time.Hour)
	batch.Delete([]byte("c"))
	err := batch.Each(func(key, value []byte, ttl time.Duration) error {
		fmt.Printf("put %s=%s %v\n", key, value, ttl)
		if ttl > 0 {
			copied.PutWithTTL(key, value, ttl)
		} else {
			copied.Put(key, value)
		}
		return nil
	}, func(key []byte) error {
		fmt.Printf("delete %s\n", key)
		copied.Delete(key)
		return nil
	})
	check(err)
	check(store.Write(&copied))
	// Output:
	// put a=1 0s
	// put b=2 1h0m0s
	// delete c
}
