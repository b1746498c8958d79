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
)

// object is a decoded JSON object. Its methods accept what relays send: strings for
// numbers, numbers for strings, null or no field for nothing.
type object map[string]any

// parsed is a decoded body.
type parsed struct {
	tree     any
	capitals bool // a key has one, so that snakeCase is due
	refused  bool // jsonb would refuse it as received, so that the tree was scrubbed
	inline   bool // it may hold files, which are cut in the form to store
}

// parse decodes exactly one JSON document, with its keys in small letters. It returns the
// tree to read, and the body in the form to store: as received where that can be.
func parse(body []byte) (tree any, stored json.RawMessage, err error) {
	text := string(body)
	p, err := decode(text)
	if err != nil {
		return nil, nil, err
	}
	if p.refused || p.inline {
		stored, err = p.encode(p.tree)
	} else {
		stored = json.RawMessage(strings.TrimPrefix(text, byteOrderMark))
	}
	return p.small(), stored, err
}

// small is the tree with its keys in small letters.
func (p parsed) small() any {
	if p.capitals {
		return snakeCase(p.tree)
	}
	return p.tree
}

const byteOrderMark = "\xef\xbb\xbf"

// decode decodes exactly one JSON document, with the keys as the relay wrote them.
func decode(text string) (parsed, error) {
	text = strings.TrimPrefix(text, byteOrderMark)
	s := scanner{text: text}
	tree := s.document()
	if s.failed {
		return parsed{}, whatIsWrong(text)
	}
	if s.refused {
		tree = scrub(tree)
	}
	return parsed{tree: tree, capitals: s.capitals, refused: s.refused, inline: mayHoldInline(text)}, nil
}

// whatIsWrong says why a text is not one JSON document that we read.
func whatIsWrong(text string) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	var document json.RawMessage
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it is incomplete")
		}
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return errors.New("it is nested too deeply")
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

func mayHoldInline(text string) bool {
	return strings.Contains(text, `"data:`) || strings.Contains(text, "b64") || strings.Contains(text, "base64")
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
		if isHuge(v.String()) {
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
	t := timeOf(o.text(key))
	if ms := t.UnixMilli(); ms < 1e12 || ms >= 1e13 {
		return time.Time{}
	}
	return t
}

func timeOf(text string) time.Time {
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
	return time.UnixMilli(int64(max(min(n, 1e13), 0))).UTC()
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
