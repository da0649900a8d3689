package fuzz

import (
	"context"
	"fmt"
	"time"

	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// writeTx makes changes in a transaction, which reads the keys before and sees its own writes after.
// Before that, it makes them in transactions that are rolled back, one of them when the other one has
// committed. These leave nothing on the disk, so the oracle does not hear of them.
func (l *life) writeTx(ops []oracle.Op) error {
	for _, end := range []func(*mmapkv.Tx) error{
		func(tx *mmapkv.Tx) error { tx.Rollback(); return nil },
		func(*mmapkv.Tx) error { return nil }, // it stays open while the other one commits
	} {
		tx, err := l.store.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := l.changeIn(tx, ops); err != nil {
			return err
		}
		if err := end(tx); err != nil {
			return err
		}
	}
	return l.store.Update(context.Background(), func(tx *mmapkv.Tx) error { return l.changeIn(tx, ops) })
}

// changeIn makes changes in a transaction.
func (l *life) changeIn(tx *mmapkv.Tx, ops []oracle.Op) error {
	state := l.oracle.Current().Visible(l.now)
	for _, op := range ops {
		key := []byte(op.Key)
		want, found := state[op.Key]
		if value, err := tx.Get(key); found && string(value) != want || found != (err == nil) {
			return fmt.Errorf("a transaction has %.20q for %q, %w; want %.20q, %t", value, key, err, want, found)
		}
		var err error
		switch {
		case op.Delete:
			err = tx.Delete(key)
			delete(state, op.Key)
		case op.Expiry != 0:
			err = tx.PutWithTTL(key, []byte(op.Value), time.Duration(op.Expiry-l.now)*time.Millisecond)
			state[op.Key] = op.Value
		default:
			err = tx.Put(key, []byte(op.Value))
			state[op.Key] = op.Value
		}
		if err != nil {
			return err
		}
	}
	return nil
}
