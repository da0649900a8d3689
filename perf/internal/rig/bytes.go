package rig

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes, as a flag and in reports: 16MiB.
type Bytes int64

var units = []struct {
	name string
	size Bytes
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String is the number in the largest unit that is not larger than the number.
func (b Bytes) String() string {
	for _, u := range units {
		if b >= u.size && b%u.size == 0 {
			return fmt.Sprintf("%d%s", b/u.size, u.name)
		}
		if b >= u.size {
			return fmt.Sprintf("%.1f%s", float64(b)/float64(u.size), u.name)
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// Set reads what String prints, and a number without a unit.
func (b *Bytes) Set(s string) error {
	unit := Bytes(1)
	for _, u := range units {
		if number, found := strings.CutSuffix(s, u.name); found {
			s, unit = number, u.size
			break
		}
	}
	number, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(number) || number < 0 || number*float64(unit) >= 1<<62 {
		return fmt.Errorf("%q is not a size such as 16MiB", s)
	}
	*b = Bytes(number * float64(unit))
	return nil
}
