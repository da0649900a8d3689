package mmapkv_test

import (
	"errors"
	"fmt"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func ExampleStore_Snapshot() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("account:1"), []byte("100")))
	check(store.Put([]byte("account:2"), []byte("50")))

	snapshot, err := store.Snapshot()
	check(err)
	defer snapshot.Close()

	// Somebody moves an amount, and closes an account.
	var move mmapkv.Batch
	move.Put([]byte("account:1"), []byte("150"))
	move.Delete([]byte("account:2"))
	check(store.Write(&move))

	// The snapshot has both accounts as they were.
	for _, key := range []string{"account:1", "account:2"} {
		value, err := snapshot.Get([]byte(key))
		check(err)
		fmt.Printf("%s was %s\n", key, value)
	}
	_, err = store.Get([]byte("account:2"))
	fmt.Println("now it is gone:", errors.Is(err, mmapkv.ErrNotFound))
	// Output:
	// account:1 was 100
	// account:2 was 50
	// now it is gone: true
}

func ExampleSnapshot_Scan() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("user:1"), []byte("alice")))
	check(store.Put([]byte("user:2"), []byte("bob")))

	snapshot, err := store.Snapshot()
	check(err)
	defer snapshot.Close()
	check(store.Put([]byte("user:3"), []byte("carol")))

	// Two scans of one snapshot show the same pairs.
	for range 2 {
		count := 0
		check(snapshot.Scan(mmapkv.ScanOptions{Prefix: []byte("user:")}, func(key, value []byte) error {
			count++
			return nil
		}))
		fmt.Println(count, "users")
	}
	// Output:
	// 2 users
	// 2 users
}
