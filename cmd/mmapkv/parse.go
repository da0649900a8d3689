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

// pair is a parsed line: a key and its value, or a count.
type pair struct {
	key, value []byte
	expires    *int64 // Unix milliseconds; nil: never
	count      *int64 // of the pairs before this line; nil: the line is a pair itself
}

// parseLine refuses every line that could not be stored exactly as written.
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
		return pair{}, errors.New("count must be alone on its line")
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

// parseFields decodes each field of an object into the target with its name, and
// returns how many fields there are. Package json alone would take the last of two
// fields with one name, and would ignore the case of names.
func parseFields(text []byte, into map[string]any) (fields int, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, err := decoder.Token(); err != nil {
		return 0, err
	} else if token != json.Delim('{') {
		return 0, errors.New("it is not an object")
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
			return 0, fmt.Errorf("duplicate field %q", name)
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
		return 0, errors.New("there is more after the object")
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

// hasLoneSurrogate reports whether JSON has a \u escape that is not a character. The
// decoder would replace it with another character.
func hasLoneSurrogate(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		first := escaped(text[i:])
		if !utf16.IsSurrogate(first) {
			i++ // the escaped character may be a backslash
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

// escaped returns the code unit of the \u escape at the start of text, or -1 if there
// is none.
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
