package mmapkv

import (
	"reflect"
	"testing"

	"github.com/mmapkv/mmapkv/mmapkv/internal/check"
	"github.com/mmapkv/mmapkv/mmapkv/internal/salvage"
)

// TestReportsAreConvertedWhole: no field of what a room reports is forgotten on the way
// to the user.
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

// fillIn sets everything in a value that can be set to something else than zero.
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

// emptyIn names the first part of a value that is zero, "" if none is.
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
