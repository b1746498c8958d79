package klingapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// object is a decoded JSON object. Its methods accept what relays send: strings for
// numbers, numbers for strings, null or no field for nothing.
type object map[string]any

// parsed is a decoded body.
type parsed struct {
	tree     any
	stored   json.RawMessage // the body in the form to store: as received, except for what Postgres' jsonb refuses
	capitals bool            // a key has one, so that snakeCase is due
	inline   bool            // it may hold files, which are cut in the form to store
}

// parse decodes exactly one JSON document. It returns the tree to read, and the body in
// the form to store.
func parse(body []byte) (tree any, stored json.RawMessage, err error) {
	p, err := decode(body)
	if err == nil && p.capitals {
		snakeCase(p.tree)
	}
	return p.tree, p.stored, err
}

// decode is parse with the keys as the relay wrote them.
func decode(body []byte) (parsed, error) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // ids are longer than 2^53
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it is incomplete")
		}
		return parsed{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return parsed{}, errors.New("something follows the document")
	}
	var w walk
	if tree = w.typed(tree, 1); w.deepest > maxDepth {
		return parsed{}, errors.New("it is nested too deeply")
	}
	p := parsed{tree: tree, stored: body, capitals: w.capitals, inline: mayHoldInline(body)}
	var err error
	if needsScrub(body) {
		p.tree = scrub(tree)
		p.stored, err = encode(p.tree)
	}
	if err == nil && p.inline {
		p.stored, err = p.encode(p.tree)
	}
	return p, err
}

// encode writes a part of the tree in the form to store.
func (p parsed) encode(v any) (json.RawMessage, error) {
	if p.inline {
		v = withoutInline(v)
	}
	return encode(v)
}

// encode writes a tree as JSON on one line.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// maxStoredInline is how much of a data: URL is stored with the body, in bytes: as an
// output it is stored already.
const maxStoredInline = 64

func mayHoldInline(body []byte) bool {
	return bytes.Contains(body, []byte(`"data:`)) || bytes.Contains(body, []byte("b64")) || bytes.Contains(body, []byte("base64"))
}

// withoutInline returns a copy of a tree in which files are cut: data: URLs, and
// base64 in a field for it.
func withoutInline(v any) any {
	switch v := v.(type) {
	case object:
		short := make(object, len(v))
		for key, value := range v {
			text, ok := value.(string)
			if ok && isBase64Field(strings.ToLower(key)) && len(text) > maxStoredInline {
				short[key] = cutInline(text)
				continue
			}
			short[key] = withoutInline(value)
		}
		return short
	case []any:
		short := make([]any, len(v))
		for i, value := range v {
			short[i] = withoutInline(value)
		}
		return short
	case string:
		if isInline(v) && len(v) > maxStoredInline {
			return cutInline(v)
		}
	}
	return v
}

func cutInline(text string) string {
	return fmt.Sprintf("%s... (%d bytes)", text[:maxStoredInline], len(text))
}

// maxDepth of a document; Postgres' own parser is limited by its stack.
const maxDepth = 200

// walk notes what is to be known of a tree.
type walk struct {
	deepest  int
	capitals bool // a key has one
}

// typed converts every JSON object of a tree to object.
func (w *walk) typed(v any, depth int) any {
	switch v := v.(type) {
	case map[string]any:
		w.deepest = max(w.deepest, depth)
		for key, value := range v {
			w.capitals = w.capitals || strings.ContainsFunc(key, isCapital)
			switch value.(type) {
			case map[string]any, []any:
				v[key] = w.typed(value, depth+1)
			}
		}
		return object(v)
	case []any:
		w.deepest = max(w.deepest, depth)
		for i, value := range v {
			v[i] = w.typed(value, depth+1)
		}
	}
	return v
}

// needsScrub reports whether jsonb might refuse the text: NUL and lone surrogates
// (both are written as escapes), bytes that are not UTF-8, huge numbers.
func needsScrub(body []byte) bool {
	return bytes.Contains(body, []byte(`\u`)) || !utf8.Valid(body) || mayHoldHugeNumber(body)
}

// mayHoldHugeNumber is a quick check for what hugeNumber finds: an exponent of three
// digits, or a thousand digits in a row. It may report true without need.
func mayHoldHugeNumber(body []byte) bool {
	digits := 0
	for i, c := range body {
		if c < '0' || c > '9' {
			digits = 0
			continue
		}
		digits++
		if digits == 1000 {
			return true
		}
		if digits == 3 && i >= 4 {
			before := body[i-3]
			if before == '+' || before == '-' {
				before = body[i-4]
			}
			if before == 'e' || before == 'E' {
				return true
			}
		}
	}
	return false
}

var hugeNumber = regexp.MustCompile(`[0-9][eE][+-]?[0-9]{3,}|[0-9]{1000}`)

// scrub replaces NUL in strings and turns huge numbers into strings; the decoder has
// already replaced what else jsonb refuses.
func scrub(v any) any {
	switch v := v.(type) {
	case object:
		clean := make(object, len(v))
		for key, value := range v {
			clean[strings.ReplaceAll(key, "\x00", "\uFFFD")] = scrub(value)
		}
		return clean
	case []any:
		for i, value := range v {
			v[i] = scrub(value)
		}
	case string:
		return strings.ReplaceAll(v, "\x00", "\uFFFD")
	case json.Number:
		if hugeNumber.MatchString(v.String()) {
			return v.String()
		}
	}
	return v
}

// text returns a string or a number as text; "" for anything else.
func (o object) text(key string) string { return textOf(o[key]) }

func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case json.Number:
		return v.String()
	}
	return ""
}

var decimalForm = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,30})?$`)

// decimal returns a number, or a string that contains one; "" for anything else.
func (o object) decimal(key string) string {
	if text := o.text(key); decimalForm.MatchString(text) {
		return text
	}
	return ""
}

// secondsBelow separates unix seconds from milliseconds: 1e11 s is the year 5138.
const secondsBelow = 1e11

// time reads unix milliseconds or seconds, as number or string, or RFC 3339. It
// returns the zero time for no field and for times before 2001 or after 2286.
func (o object) time(key string) time.Time {
	text := o.text(key)
	if text == "" {
		return time.Time{}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t, _ := time.Parse(time.RFC3339, text) // the zero time where it is none
		return t.UTC()
	}
	if math.IsNaN(n) {
		return time.Time{}
	}
	if n < secondsBelow {
		n *= 1000
	}
	if n < 1e12 || n >= 1e13 {
		return time.Time{}
	}
	return time.UnixMilli(int64(n)).UTC()
}

// firstTime returns the first of the fields that holds a time, else the zero time.
func firstTime(o object, keys ...string) time.Time {
	for _, key := range keys {
		if t := o.time(key); !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}
