package mmapkv_test

import (
	"fmt"
	"io/fs"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func ExampleStore_Scan() {
	store, done := example(nil)
	defer done()
	for _, name := range []string{"carol", "alice", "bob"} {
		check(store.Put([]byte("user:"+name), []byte("hello "+name)))
	}
	check(store.Put([]byte("visits"), []byte("7")))

	// The slices are not copied. Do not use them after the function returns.
	users := 0
	err := store.Scan(mmapkv.ScanOptions{Prefix: []byte("user:")}, func(key, value []byte) error {
		fmt.Printf("%s: %s\n", key, value)
		if users++; users == 2 {
			return fs.SkipAll // enough
		}
		return nil
	})
	check(err)
	// Output:
	// user:alice: hello alice
	// user:bob: hello bob
}

func ExampleStore_Scan_reverse() {
	store, done := example(nil)
	defer done()
	for day := 1; day <= 9; day++ {
		check(store.Put(fmt.Appendf(nil, "2026-12-%02d", day), nil))
	}

	// The last days before the 5th.
	err := store.Scan(mmapkv.ScanOptions{To: []byte("2026-12-05"), Reverse: true, KeysOnly: true}, func(key, _ []byte) error {
		fmt.Printf("%s ", key)
		return nil
	})
	check(err)
	// Output: 2026-12-04 2026-12-03 2026-12-02 2026-12-01
}

func ExampleStore_Iterator() {
	store, done := example(nil)
	defer done()
	for _, key := range []string{"a", "c", "e", "g"} {
		check(store.Put([]byte(key), nil))
	}

	it, err := store.Iterator(mmapkv.ScanOptions{})
	check(err)
	defer it.Close()
	if it.SeekGE([]byte("d")) {
		fmt.Printf("the first from d on is %s\n", it.Key())
	}
	if it.Prev() {
		fmt.Printf("before it comes %s\n", it.Key())
	}
	check(it.Err())
	// Output:
	// the first from d on is e
	// before it comes c
}

func ExampleIterator_Pairs() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("user:1"), []byte("alice")))
	check(store.Put([]byte("user:2"), []byte("bob")))

	it, err := store.Iterator(mmapkv.ScanOptions{Prefix: []byte("user:")})
	check(err)
	defer it.Close()
	for key, value := range it.Pairs() {
		// It shows what was there when it was made, so the loop may delete.
		check(store.Delete(key))
		fmt.Printf("%s %s\n", key, value)
	}
	check(it.Err())
	fmt.Println(store.Len())
	// Output:
	// user:1 alice
	// user:2 bob
	// 0
}

func ExampleStore_Size() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("picture"), make([]byte, 70_000)))
	size, err := store.Size([]byte("picture"))
	check(err)
	fmt.Println(size)
	// Output: 70000
}
