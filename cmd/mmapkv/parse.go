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
)

// pair is what a line says.
type pair struct {
	key, value []byte
	expires    *int64 // Unix milliseconds; nil: never
	count      *int64 // pairs before this line, which is none itself; nil: it is one
}

// parseLine refuses whatever could not be stored exactly as it was meant.
func parseLine(text []byte) (pair, error) {
	var l line
	var count *int64
	fields, err := parseFields(text, map[string]any{
		"key": &l.Key, "key64": &l.Key64, "value": &l.Value, "value64": &l.Value64, "expires": &l.Expires, "count": &count,
	})
	if err != nil {
		return pair{}, err
	}
	if !utf8.Valid(text) || hasLoneSurrogate(text) {
		return pair{}, errors.New("the text is not Unicode; key64 and value64 take any bytes")
	}
	switch {
	case count != nil && fields > 1:
		return pair{}, errors.New("count stands in a line of its own")
	case count != nil:
		return pair{count: count}, nil
	}
	key, err := one(l.Key, l.Key64, "key")
	if err != nil {
		return pair{}, err
	}
	value, err := one(l.Value, l.Value64, "value")
	if err != nil {
		return pair{}, err
	}
	if err := checkSizes(key, value); err != nil {
		return pair{}, err
	}
	if l.Expires != nil && untilExpiry(*l.Expires) == math.MaxInt64 {
		return pair{}, errors.New("expires is more than 292 years ahead")
	}
	return pair{key: key, value: value, expires: l.Expires}, nil
}

// parseFields decodes the fields of an object, each to where its name says, and
// returns how many there are. Package json alone would take the last one of a name
// that is there twice, and a name in other letters for the same.
func parseFields(text []byte, into map[string]any) (fields int, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, err := decoder.Token(); err != nil {
		return 0, err
	} else if token != json.Delim('{') {
		return 0, errors.New("it is no object")
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return 0, err
		}
		name, _ := token.(string)
		switch target := into[name]; {
		case target == nil:
			return 0, fmt.Errorf("unknown field %q", name)
		case seen[name]:
			return 0, fmt.Errorf("%q is there twice", name)
		default:
			err = decoder.Decode(target)
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, fmt.Errorf("%q: %w", name, err)
		}
		seen[name] = true
	}
	if _, err := decoder.Token(); err == io.EOF {
		return 0, io.ErrUnexpectedEOF
	} else if err != nil {
		return 0, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return 0, errors.New("there is more behind the object")
	}
	return len(seen), nil
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
