package outbound

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes one line of a text for logs, tables and stored reasons: Visible,
// with one space for every run of spaces and none at the ends. Line(Line(text))
// is Line(text).
func Line(text string) string {
	return strings.Join(strings.Fields(Visible(text)), " ")
}

// Visible makes a text safe to print on a terminal: one line of valid UTF-8 whose
// characters show. White space, line breaks and control characters become spaces,
// one each. Characters that show nothing or change the direction of the text are
// removed; emoji that were joined come apart. What Unicode does not define, and
// bytes that are not UTF-8, become U+FFFD.
func Visible(text string) string { return strings.Map(visible, text) }

// visible maps a character for Visible; -1 removes it.
func visible(r rune) rune {
	switch {
	case unicode.IsSpace(r), unicode.IsControl(r):
		return ' '
	// Cf has the controls of direction and most of the zero-width characters; the
	// rest are letters and marks that show nothing, like the Hangul filler.
	case unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return -1
	case !unicode.IsGraphic(r):
		return utf8.RuneError
	}
	return r
}

// Cut shortens a text to its first characters, as many as most, followed by "..."
// where something was cut. Cut(Cut(text, n), n) is Cut(text, n).
func Cut(text string, most int) string {
	count := 0
	for i := range text {
		if count == most {
			return text[:i] + "..."
		}
		count++
	}
	return text
}

// urlQuery matches a URL with a query within a text: the URLs of outputs are
// signed by the provider, those of receivers hold tokens.
var urlQuery = regexp.MustCompile(`(?i)(https?://[^\s"'?]*)\?[^\s"']*`)

// Redact replaces the query of every http(s) URL in a text with "...".
func Redact(text string) string { return urlQuery.ReplaceAllString(text, "$1?...") }

// LogLine makes of a text from outside what a log or trace may hold: one line,
// without the queries of URLs.
func LogLine(text string) string { return Line(Redact(text)) }
