package mmapkv

import (
	"reflect"
	"testing"

	"github.com/mmapkv/mmapkv/mmapkv/internal/check"
	"github.com/mmapkv/mmapkv/mmapkv/internal/salvage"
)

// TestReportsAreConvertedWhole checks that the public reports have every field of the
// internal ones.
func TestReportsAreConvertedWhole(t *testing.T) {
	checked, salvaged := new(check.Report), new(salvage.Report)
	fillIn(reflect.ValueOf(checked).Elem())
	fillIn(reflect.ValueOf(salvaged).Elem())
	for _, report := range []any{newReport(*checked), newSalvageReport(*salvaged)} {
		if name := emptyIn(reflect.ValueOf(report)); name != "" {
			t.Errorf("%T%s is empty", report, name)
		}
	}
}

// fillIn sets every part of a value to something other than zero.
func fillIn(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillIn(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillIn(v.Index(0))
	case reflect.String:
		v.SetString("something")
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.Set(reflect.ValueOf(1).Convert(v.Type()))
	}
}

// emptyIn returns the name of the first part of a value that is zero, or "".
func emptyIn(v reflect.Value) string {
	switch {
	case v.IsZero():
		return " "
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if name := emptyIn(v.Field(i)); name != "" {
				return "." + v.Type().Field(i).Name + name
			}
		}
	case v.Kind() == reflect.Slice:
		return emptyIn(v.Index(0))
	}
	return ""
}
