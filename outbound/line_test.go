package outbound_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/outbound"
)

func TestATextBecomesOneSafeLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "",
		"plain text":                    "plain text",
		" two\n\tlines\r\n and more ":   "two lines and more",
		"\u2028a\u2029b\u0085c\vd\fe":   "a b c d e",
		"\x1b[2J\x1b]0;title\a":         "[2J ]0;title",
		"\u009b31mred":                  "31mred", // the C1 form of ESC [
		"a\x00b\x7fc":                   "a b c",
		"\u00a0non\u2003breaking\u3000": "non breaking",
		"\xff\xfe\xc0\xaf":              "\uFFFD\uFFFD\uFFFD\uFFFD",
		"\ue000\U000F0000\u0378":        "\uFFFD\uFFFD\uFFFD", // private, not assigned
		"日本語 العربية עברית ไทย é e\u0301":    "日本語 العربية עברית ไทย é e\u0301",
		"👩\u200d🚀 ❤\ufe0f":                   "👩🚀 ❤",
		"zero\u200bwidth\u2060\ufeffspace":   "zerowidthspace",
		"fail\u202edeeccus\u202c":            "faildeeccus",
		"soft\u00adhyphen \u115f\u3164blank": "softhyphen blank",
	} {
		if got := outbound.Line(text); got != want {
			t.Errorf("%+q became %+q, want %+q", text, got, want)
		}
	}
}

// What steers the direction of a text or hides in it is removed, one by one.
func TestInvisibleCharactersAreRemoved(t *testing.T) {
	t.Parallel()
	ranges := [][2]rune{
		{0x202A, 0x202E}, {0x2066, 0x2069}, {0x200E, 0x200F}, {0x061C, 0x061C}, // direction
		{0x200B, 0x200D}, {0x2060, 0x2064}, {0xFEFF, 0xFEFF}, {0x00AD, 0x00AD}, {0x180E, 0x180E}, // zero width
		{0xE0001, 0xE0001}, {0xE0020, 0xE007F}, {0xFFF9, 0xFFFB}, // tags, annotations
		{0x034F, 0x034F}, {0x115F, 0x1160}, {0x3164, 0x3164}, {0xFFA0, 0xFFA0}, // fillers
		{0xFE00, 0xFE0F}, {0xE0100, 0xE01EF}, // variation selectors
	}
	for _, r := range ranges {
		for c := r[0]; c <= r[1]; c++ {
			if got := outbound.Line("a" + string(c) + "b"); got != "ab" {
				t.Errorf("U+%04X: %+q", c, got)
			}
		}
	}
}

// offends reports whether a character has no place in a safe line.
func offends(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.In(r, unicode.Zl, unicode.Zp) || unicode.IsSpace(r) && r != ' ' || !unicode.IsGraphic(r)
}

func checkLine(t interface{ Errorf(string, ...any) }, text string) {
	line := outbound.Line(text)
	if !utf8.ValidString(line) || strings.ContainsFunc(line, offends) || strings.TrimSpace(line) != line || strings.Contains(line, "  ") {
		t.Errorf("%q became %q", text, line)
	}
	visible := outbound.Printable(text)
	if !utf8.ValidString(visible) || strings.ContainsFunc(visible, offends) || outbound.Printable(visible) != visible {
		t.Errorf("%q shows as %q", text, visible)
	}
	if again := outbound.Line(line); again != line {
		t.Errorf("%q became %q, then %q", text, line, again)
	}
	for _, most := range []int{0, 1, 5, 100} {
		short := outbound.Truncate(line, most)
		if strings.HasSuffix(line, "...") {
			continue // dots in the text look like those of Truncate
		}
		if n := utf8.RuneCountInString(strings.TrimSuffix(short, "...")); n > most || outbound.Truncate(short, most) != short || !utf8.ValidString(short) {
			t.Errorf("%q was cut to %d: %q", line, most, short)
		}
	}
}

func TestAnyTextBecomesOneSafeLine(t *testing.T) {
	t.Parallel()
	hostile := rapid.StringOf(rapid.OneOf(
		rapid.Rune(),
		rapid.RuneFrom(nil, unicode.Cf, unicode.Cc, unicode.Zs, unicode.Co, unicode.Mn),
		rapid.SampledFrom([]rune("a. \n\u2028\u202e\u200b\ufeff")),
	))
	rapid.Check(t, func(t *rapid.T) { checkLine(t, hostile.Draw(t, "text")) })
}

func FuzzLine(f *testing.F) {
	for _, text := range []string{"", "plain", "\x1b[2J", "a\u202eb\u2028c", "\xff\u200d\x00", "👩\u200d🚀", "a ..."} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkLine(t, text) })
}

func TestATextIsCutToCharacters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"", 0, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc..."}, {"日本語", 3, "日本語"}, {"日本語版", 3, "日本語..."}, {"a", 0, "..."},
	} {
		if got := outbound.Truncate(c.text, c.most); got != c.want {
			t.Errorf("%q, %d: %q", c.text, c.most, got)
		}
	}
}

func TestURLsLoseTheirQueries(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"see https://cdn.example/o.mp4?sig=secret&x=1 now": "see https://cdn.example/o.mp4?... now",
		"HTTPS://cdn.example/o.mp4?sig=secret":             "HTTPS://cdn.example/o.mp4?...",
		"http://a/?s=1 and http://b?s=2":                   "http://a/?... and http://b?...",
		`{"url":"http://h/x?token=secret"}`:                `{"url":"http://h/x?..."}`,
		"no URL? none":                                     "no URL? none",
		"https://app.example/hook":                         "https://app.example/hook",
	} {
		if got := outbound.Redact(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}
