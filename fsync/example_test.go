package fsync_test

import (
	"fmt"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
)

// If Enter returns without the lead, another writer has written the line.
func ExampleGroup() {
	var log []string
	group := fsync.NewGroup[string]()
	write := func(line string) {
		lines, lead := group.Enter(line)
		if lead {
			defer group.Leave()
			log = append(log, lines...)
		}
	}
	write("one")
	write("two")
	fmt.Println(log)
	// Output: [one two]
}

func ExampleEvery() {
	fmt.Println(fsync.Every(time.Second), fsync.Every(0) == fsync.Always)
	// Output: every 1s true
}

func ExampleParsePolicy() {
	policy, err := fsync.ParsePolicy("every 50ms")
	fmt.Println(policy == fsync.Every(50*time.Millisecond), err)
	// Output: true <nil>
}
