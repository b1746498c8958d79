package outbound

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes one line of a text, for tables and stored reasons: like Printable, with
// one space for each run of spaces and none at the ends. Line(Line(text)) is
// Line(text).
func Line(text string) string {
	if isLine(text) {
		return text
	}
	return strings.Join(strings.Fields(Printable(text)), " ")
}

// isLine reports whether a text in ASCII is one safe line already, as most are.
func isLine(text string) bool {
	after := byte(' ')
	for i := range len(text) {
		c := text[i]
		if c < ' ' || c > '~' || c == ' ' && after == ' ' {
			return false
		}
		after = c
	}
	return after != ' ' || text == ""
}

// Printable makes a text safe to print on a terminal: one line of valid UTF-8
// without invisible characters. White space, line breaks and control characters
// become spaces, one each. Characters that are invisible or change the direction of
// the text are removed, which splits joined emoji. Code points that Unicode does not
// define, and bytes that are not UTF-8, become U+FFFD.
func Printable(text string) string { return strings.Map(printable, text) }

// printable maps a character for Printable; -1 removes it.
func printable(r rune) rune {
	switch {
	case unicode.IsSpace(r), unicode.IsControl(r):
		return ' '
	// Cf has the controls of direction and most zero-width characters; the others are
	// letters and marks that are invisible, like the Hangul filler.
	case unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return -1
	case !unicode.IsGraphic(r):
		return utf8.RuneError
	}
	return r
}

// Truncate shortens a text to limit characters, followed by "..." when there were
// more.
func Truncate(text string, limit int) string {
	count := 0
	for i := range text {
		if count == limit {
			return text[:i] + "..."
		}
		count++
	}
	return text
}

// urlQuery matches a URL with a query within a text. The provider signs the URLs of
// outputs, and those of receivers contain tokens.
var urlQuery = regexp.MustCompile(`(?i)(https?://[^\s"'?]*)\?[^\s"']*`)

// Redact replaces the query of every http(s) URL in a text with "...".
func Redact(text string) string { return urlQuery.ReplaceAllString(text, "$1?...") }

// LogLine makes a text from outside fit for a log or trace: one line without the
// queries of URLs.
func LogLine(text string) string { return Line(Redact(text)) }
