package fsync_test

import (
	"fmt"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
)

func ExampleEvery() {
	fmt.Println(fsync.Every(time.Second), fsync.Every(0) == fsync.Always)
	// Output: every 1s true
}

func ExampleParsePolicy() {
	policy, err := fsync.ParsePolicy("every 50ms")
	fmt.Println(policy == fsync.Every(50*time.Millisecond), err)
	// Output: true <nil>
}
