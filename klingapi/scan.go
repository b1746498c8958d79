package klingapi

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// maxDepth of a document; Postgres' own parser is limited by its stack.
const maxDepth = 200

// scanner reads one JSON document in one pass, without copying its strings.
type scanner struct {
	text     string
	at       int
	failed   bool // it is not one JSON document, or nested too deeply
	capitals bool // a key has one
	refused  bool // jsonb might refuse it: NUL and lone surrogates (both are written as escapes), bytes that are not UTF-8, huge numbers
}

func (s *scanner) document() any {
	v := s.value(1)
	if s.peek(); s.at < len(s.text) {
		s.fail()
	}
	return v
}

// fail ends the scan: nothing more is found in the text.
func (s *scanner) fail() { s.failed, s.at = true, len(s.text) }

// value reads a value at some depth.
func (s *scanner) value(depth int) any {
	switch s.peek() {
	case '{':
		return s.object(depth)
	case '[':
		return s.list(depth)
	case '"':
		return s.string()
	case 't':
		return s.word("true", true)
	case 'f':
		return s.word("false", false)
	case 'n':
		return s.word("null", nil)
	}
	return s.number()
}

// object reads an object. Of two fields with one name the last counts.
func (s *scanner) object(depth int) object {
	o := object{}
	s.open('{', depth)
	if s.skip('}') {
		return o
	}
	for next := true; next; next = s.skip(',') {
		key := s.string()
		s.expect(':')
		o[key] = s.value(depth + 1)
		s.capitals = s.capitals || strings.ContainsFunc(key, isCapital)
	}
	s.expect('}')
	return o
}

func (s *scanner) list(depth int) []any {
	list := []any{}
	s.open('[', depth)
	if s.skip(']') {
		return list
	}
	for next := true; next; next = s.skip(',') {
		list = append(list, s.value(depth+1))
	}
	s.expect(']')
	return list
}

func (s *scanner) open(bracket byte, depth int) {
	if s.expect(bracket); depth > maxDepth {
		s.fail()
	}
}

// string reads a string.
func (s *scanner) string() string {
	s.expect('"')
	begin, plain := s.at, true
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"' && plain:
			s.at++
			return s.text[begin : s.at-1]
		case c == '"':
			s.at++
			return s.unquoted(s.text[begin-1 : s.at])
		case c < ' ':
			s.fail()
		case c == '\\':
			plain = false
			s.at++
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
	s.fail()
	return ""
}

// unquoted undoes the escapes of a string, and replaces what is not UTF-8.
func (s *scanner) unquoted(quoted string) string {
	valid := utf8.ValidString(quoted)
	if valid && !strings.Contains(quoted, `\`) {
		return quoted[1 : len(quoted)-1]
	}
	s.refused = s.refused || !valid || strings.Contains(quoted, `\u`)
	var text string
	if json.Unmarshal([]byte(quoted), &text) != nil {
		s.fail()
	}
	return text
}

// isHuge reports whether jsonb refuses a number, or takes much room for it: one with 1,000
// digits in a row, or three in its exponent.
func isHuge(number string) bool {
	mantissa, exponent := number, ""
	if e := strings.IndexAny(number, "eE"); e >= 0 {
		mantissa, exponent = number[:e], strings.TrimLeft(number[e+1:], "+-")
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(mantissa, "-"), ".")
	return len(exponent) >= 3 || len(whole) >= 1000 || len(fraction) >= 1000
}

// number reads a number, or fails.
func (s *scanner) number() json.Number {
	begin := s.at
	s.oneOf("-")
	if !s.oneOf("0") {
		s.digits()
	}
	if s.oneOf(".") {
		s.digits()
	}
	if s.oneOf("eE") {
		s.oneOf("+-")
		s.digits()
	}
	if s.failed {
		return ""
	}
	number := s.text[begin:s.at]
	s.refused = s.refused || isHuge(number)
	return json.Number(number)
}

// digits skips digits, at least one.
func (s *scanner) digits() {
	if !s.oneOf("0123456789") {
		s.fail()
	}
	for s.oneOf("0123456789") {
	}
}

// word skips a word, and returns its value.
func (s *scanner) word(word string, value any) any {
	if !strings.HasPrefix(s.text[s.at:], word) {
		s.fail()
		return nil
	}
	s.at += len(word)
	return value
}

// peek skips space, and returns the character behind it; 0 at the end.
func (s *scanner) peek() byte {
	for s.at < len(s.text) && isSpace(s.text[s.at]) {
		s.at++
	}
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

// skip skips space and a character, if it is there.
func (s *scanner) skip(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) expect(c byte) {
	if !s.skip(c) {
		s.fail()
	}
}

// oneOf skips one of some characters, if it is there.
func (s *scanner) oneOf(characters string) bool {
	if s.at == len(s.text) || strings.IndexByte(characters, s.text[s.at]) < 0 {
		return false
	}
	s.at++
	return true
}
