package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// pair is what a line says.
type pair struct {
	key, value []byte
	expires    *int64 // Unix milliseconds; nil: never
}

// parseLine refuses whatever could not be stored exactly as it was meant.
func parseLine(text []byte) (pair, error) {
	var l line
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&l); err != nil {
		return pair{}, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return pair{}, errors.New("there is more behind the object")
	}
	if !utf8.Valid(text) || hasLoneSurrogate(text) {
		return pair{}, errors.New("the text is not Unicode; key64 and value64 take any bytes")
	}
	key, err := one(l.Key, l.Key64, "key")
	if err != nil {
		return pair{}, err
	}
	value, err := one(l.Value, l.Value64, "value")
	if err != nil {
		return pair{}, err
	}
	if len(key) > mmapkv.MaxKeySize || uint64(len(value)) > mmapkv.MaxValueSize {
		return pair{}, fmt.Errorf("%w: a key of %d and a value of %d bytes", mmapkv.ErrTooLarge, len(key), len(value))
	}
	if l.Expires != nil && untilExpiry(*l.Expires) == math.MaxInt64 {
		return pair{}, errors.New("expires is more than 292 years ahead")
	}
	return pair{key, value, l.Expires}, nil
}

func one(text *string, raw []byte, name string) ([]byte, error) {
	switch {
	case text != nil && raw != nil:
		return nil, fmt.Errorf("%s and %s64 are both given", name, name)
	case text != nil:
		return []byte(*text), nil
	case raw != nil:
		return raw, nil
	}
	return nil, fmt.Errorf("%s and %s64 are both missing", name, name)
}

// hasLoneSurrogate says whether JSON has a \u escape that means no character. The
// decoder would put another character in its place.
func hasLoneSurrogate(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		first := escaped(text[i:])
		if !utf16.IsSurrogate(first) {
			i++ // what is escaped may be a backslash
			continue
		}
		if utf16.DecodeRune(first, escaped(text[i+escapeSize:])) == unicode.ReplacementChar {
			return true
		}
		i += 2*escapeSize - 1
	}
	return false
}

const escapeSize = len(`\u0000`)

// escaped is the code unit of the \u escape that text begins with, -1 without one.
func escaped(text []byte) rune {
	if len(text) < escapeSize || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(text[2:escapeSize]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(unit)
}
