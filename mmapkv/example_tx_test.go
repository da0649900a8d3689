package mmapkv_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// balance reads an account.
func balance(r mmapkv.Reader, name string) (int, error) {
	value, err := r.Get([]byte(name))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

func ExampleStore_Update() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("alice"), []byte("100")))
	check(store.Put([]byte("bob"), []byte("20")))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	err := store.Update(ctx, func(tx *mmapkv.Tx) error {
		from, err := balance(tx, "alice")
		if err != nil {
			return err
		}
		to, err := balance(tx, "bob")
		if err != nil {
			return err
		}
		if from < 30 {
			return errors.New("not enough money")
		}
		return errors.Join(
			tx.Put([]byte("alice"), fmt.Append(nil, from-30)),
			tx.Put([]byte("bob"), fmt.Append(nil, to+30)))
	})
	check(err)
	for _, name := range []string{"alice", "bob"} {
		has, err := balance(store, name)
		check(err)
		fmt.Println(name, has)
	}
	// Output:
	// alice 70
	// bob 50
}

// endSessions deletes all sessions, unless one comes, goes or changes meanwhile.
func endSessions(store *mmapkv.Store, meanwhile func()) error {
	tx, err := store.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := tx.DeleteRange([]byte("session:"), []byte("session;")); err != nil {
		return err
	}
	meanwhile()        // what others do
	return tx.Commit() // ErrConflict: a session has come, gone or changed meanwhile
}

func ExampleStore_Begin() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("session:1"), nil))

	err := endSessions(store, func() { check(store.Put([]byte("session:2"), nil)) })
	fmt.Println(errors.Is(err, mmapkv.ErrConflict))
	fmt.Println(endSessions(store, func() {}))
	has, err := store.Has([]byte("session:1"))
	fmt.Println(has, err)
	// Output:
	// true
	// <nil>
	// false <nil>
}

func ExampleTx_Scan() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("job:1"), []byte("done")))
	check(store.Put([]byte("job:3"), []byte("new")))

	// A transaction sees its own writes in order with the others.
	err := store.Update(context.Background(), func(tx *mmapkv.Tx) error {
		check(tx.Put([]byte("job:2"), []byte("new")))
		check(tx.Delete([]byte("job:1")))
		return tx.Scan(mmapkv.ScanOptions{Prefix: []byte("job:")}, func(key, value []byte) error {
			fmt.Printf("%s %s\n", key, value)
			return nil
		})
	})
	check(err)
	// Output:
	// job:2 new
	// job:3 new
}

func ExampleTx_Untracked() {
	store, done := example(nil)
	defer done()
	check(store.Put([]byte("visits"), []byte("1")))

	tx, err := store.Begin()
	check(err)
	defer tx.Rollback()
	visits, err := tx.Untracked().Get([]byte("visits")) // may have changed by the time of the commit
	check(err)
	check(tx.Put([]byte("report"), visits))
	check(store.Put([]byte("visits"), []byte("2")))
	fmt.Println(tx.Commit())
	// Output: <nil>
}
