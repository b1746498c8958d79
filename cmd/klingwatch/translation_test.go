package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	anyLink  = regexp.MustCompile(`(?:\]\(|(?:href|src|srcset)=")([^)"\s]+)`)
	// commentMark begins a comment in a block of this language.
	commentMark = map[string]string{"sh": "#", "python": "#", "sql": "--", "js": "//", "go": "//"}
	// verbatim is what a translated diagram keeps: requests, SQL and the provider's words.
	verbatim = regexp.MustCompile(`\b(?:GET|POST|PUT|DELETE)\b(?: /\S+)?|\b(?:insert into|select \.\.\. from) [a-z_., ]*[a-z_]|\b(?:processing|succeed)\b`)
)

// The Chinese README has the sections, commands, SQL, settings and links of the
// English one. Prose, comments in code and the labels of diagrams (text blocks) are
// translated, and nothing else.
func TestBothReadmesHaveTheSameCode(t *testing.T) {
	t.Parallel()
	var texts [2]string
	for i, page := range []string{"README.md", "README.zh.md"} {
		text, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
		if !strings.Contains(texts[i], "[English](README.md) | [简体中文](README.zh.md)") {
			t.Errorf("%s does not link to both languages", page)
		}
	}
	for _, difference := range translationGaps(texts[0], texts[1]) {
		t.Error(difference)
	}
}

// A section of a page, with what no translation changes.
type section struct {
	name                        string // README.md:12 "Try it"
	heading, code, spans, links []part
}

// A part is a piece of text, and the place where it stands.
type part struct{ text, at string }

// translationGaps tells where two READMEs differ in more than their language.
func translationGaps(english, chinese string) (gaps []string) {
	en, zh := sectionsOf("README.md", english), sectionsOf("README.zh.md", chinese)
	for len(en)+len(zh) > 0 {
		switch {
		case beginsWithMore(en, zh):
			gaps = append(gaps, fmt.Sprintf("README.zh.md lacks the section %s: translate it", en[0].name))
			en = en[1:]
		case beginsWithMore(zh, en):
			gaps = append(gaps, fmt.Sprintf("README.md lacks the section %s: add it there, or take it out here", zh[0].name))
			zh = zh[1:]
		default:
			gaps = append(gaps, sectionGaps(en[0], zh[0])...)
			en, zh = en[1:], zh[1:]
		}
	}
	return gaps
}

// beginsWithMore reports whether the first of these sections is one that the others lack.
func beginsWithMore(these, others []section) bool {
	if len(these) <= len(others) {
		return false
	}
	return len(others) == 0 || len(sectionGaps(these[0], others[0])) > 0 && len(sectionGaps(these[1], others[0])) == 0
}

func sectionGaps(en, zh section) (gaps []string) {
	gaps = append(gaps, firstGap(en, zh, en.heading, zh.heading)...)
	gaps = append(gaps, firstGap(en, zh, en.code, zh.code)...)
	gaps = append(gaps, firstGap(en, zh, en.links, zh.links)...)
	for _, span := range without(en.spans, zh.spans) { // in any order: a translation has its own
		gaps = append(gaps, lacks(zh, span))
	}
	for _, span := range without(zh.spans, en.spans) {
		gaps = append(gaps, lacks(en, span))
	}
	return gaps
}

// firstGap tells where two lists begin to differ: all after it may only be shifted.
func firstGap(en, zh section, english, chinese []part) []string {
	i := 0
	for i < min(len(english), len(chinese)) && english[i].text == chinese[i].text {
		i++
	}
	switch {
	case i == len(english) && i == len(chinese):
		return nil
	case i == len(chinese), i < len(english) && has(english, chinese[i]) && !has(chinese, english[i]):
		return []string{lacks(zh, english[i])}
	case i == len(english), has(chinese, english[i]) && !has(english, chinese[i]):
		return []string{lacks(en, chinese[i])}
	}
	return []string{fmt.Sprintf("%s has %q, %s has %q: make them the same", english[i].at, english[i].text, chinese[i].at, chinese[i].text)}
}

func lacks(where section, what part) string {
	return fmt.Sprintf("%s has %q, which the section %s lacks: add it there, or take it out here", what.at, what.text, where.name)
}

func has(parts []part, wanted part) bool {
	return slices.ContainsFunc(parts, func(p part) bool { return p.text == wanted.text })
}

// without returns the parts that are left when each of the others took one away.
func without(parts, others []part) (left []part) {
	counts := map[string]int{}
	for _, other := range others {
		counts[other.text]++
	}
	for _, p := range parts {
		if counts[p.text]--; counts[p.text] < 0 {
			left = append(left, p)
		}
	}
	return left
}

// sectionsOf cuts a page at its headings.
func sectionsOf(page, text string) []section {
	sections := []section{{name: page + ":1"}}
	blocks, language, inBlock := 0, "", false
	for number, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", page, number+1)
		if title := strings.TrimLeft(line, "#"); title != line && !inBlock {
			level := strings.TrimSuffix(line, title)
			sections = append(sections, section{name: fmt.Sprintf("%s %q", at, strings.TrimSpace(title)), heading: []part{{level, at}}})
		}
		last := &sections[len(sections)-1]
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && inBlock:
			inBlock = false
		case isFence:
			blocks, language, inBlock = blocks+1, fence, true
			last.code = append(last.code, part{line, withBlock(at, blocks, language)})
		case inBlock:
			for _, code := range codeOf(language, line) {
				last.code = append(last.code, part{code, withBlock(at, blocks, language)})
			}
		default:
			last.spans = append(last.spans, partsOf(codeSpan, line, at)...)
			last.links = append(last.links, partsOf(anyLink, line, at)...)
		}
	}
	return sections
}

func withBlock(at string, number int, language string) string {
	return fmt.Sprintf("%s (%s)", at, strings.TrimSpace(fmt.Sprintf("block %d %s", number, language)))
}

// partsOf returns what the group of a pattern matches in a line.
func partsOf(pattern *regexp.Regexp, line, at string) (parts []part) {
	for _, match := range pattern.FindAllStringSubmatch(line, -1) {
		parts = append(parts, part{match[1], at})
	}
	return parts
}

// codeOf returns what a translation keeps of a line in a block.
func codeOf(language, line string) []string {
	if language == "text" {
		return verbatim.FindAllString(line, -1)
	}
	if code := withoutComment(line, commentMark[language]); code != "" {
		return []string{code}
	}
	return nil
}

// withoutComment cuts a line where a comment begins: at a mark after a space, outside
// of quotes.
func withoutComment(line, mark string) string {
	quote, before := rune(0), ' '
	for i, char := range line {
		switch {
		case quote != 0 && char == quote:
			quote = 0
		case quote == 0 && strings.ContainsRune("'\"`", char):
			quote = char
		case quote == 0 && mark != "" && unicode.IsSpace(before) && strings.HasPrefix(line[i:], mark):
			return strings.TrimSpace(line[:i])
		}
		before = char
	}
	return strings.TrimRight(line, " \t")
}

// What may differ, what may not, and how it is told.
func TestGapsInATranslationAreTold(t *testing.T) {
	t.Parallel()
	const fence = "```"
	for name, c := range map[string]struct {
		english, chinese string
		want             []string
	}{
		"prose, comments, labels, order of spans": {
			english: "# A\nset `x`, then `y`\n" + fence + "sh\nrun --all   # all of it\n" + fence + "\n" + fence + "text\n|- POST, signed ->|\n" + fence,
			chinese: "# 甲\n先 `y` 后 `x`\n" + fence + "sh\n# 全部\nrun --all\n" + fence + "\n" + fence + "text\n|- POST ->|  带签名\n" + fence,
		},
		"another command": {
			english: fence + "sh\nrun one\nrun two\n" + fence,
			chinese: fence + "sh\nrun one\nrun three\n" + fence,
			want:    []string{`README.md:3 (block 1 sh) has "run two", README.zh.md:3 (block 1 sh) has "run three": make them the same`},
		},
		"a line less": {
			english: fence + "sql\nselect 1;\nselect 2; -- two\nselect 3;\n" + fence,
			chinese: fence + "sql\nselect 1;\nselect 3;\n" + fence,
			want:    []string{`README.md:3 (block 1 sql) has "select 2;", which the section README.zh.md:1 lacks: add it there, or take it out here`},
		},
		"a line more": {
			english: "# A\n" + fence + "\nrun\n" + fence,
			chinese: "# 甲\n" + fence + "\nrun\nstop\n" + fence,
			want:    []string{`README.zh.md:4 (block 1) has "stop", which the section README.md:1 "A" lacks: add it there, or take it out here`},
		},
		"a block less": {
			english: "# A\n" + fence + "js\nrun()\n" + fence,
			chinese: "# 甲",
			want:    []string{"README.md:2 (block 1 js) has \"```js\", which the section README.zh.md:1 \"甲\" lacks: add it there, or take it out here"},
		},
		"a mark of comments within quotes": {
			english: fence + "sh\ncurl 'a # b'\n" + fence,
			chinese: fence + "sh\ncurl 'a # c'\n" + fence,
			want:    []string{`README.md:2 (block 1 sh) has "curl 'a # b'", README.zh.md:2 (block 1 sh) has "curl 'a # c'": make them the same`},
		},
		"another path in a diagram": {
			english: fence + "text\n|-- GET /a/{id} ->| asks\n" + fence,
			chinese: fence + "text\n|-- GET /b/{id} ->| 查询\n" + fence,
			want:    []string{`README.md:2 (block 1 text) has "GET /a/{id}", README.zh.md:2 (block 1 text) has "GET /b/{id}": make them the same`},
		},
		"a setting less, another one twice": {
			english: "# A\n`ONE`\nand `TWO`",
			chinese: "# 甲\n`ONE` 和 `ONE`",
			want: []string{
				`README.md:3 has "TWO", which the section README.zh.md:1 "甲" lacks: add it there, or take it out here`,
				`README.zh.md:2 has "ONE", which the section README.md:1 "A" lacks: add it there, or take it out here`,
			},
		},
		"a screenshot less": {
			english: "# A\n![it](a.png)\n[b](b.md)",
			chinese: "# 甲\n[乙](b.md)",
			want:    []string{`README.md:2 has "a.png", which the section README.zh.md:1 "甲" lacks: add it there, or take it out here`},
		},
		"links in another order": {
			english: "[a](a.md) [b](b.md)",
			chinese: "[乙](b.md) [甲](a.md)",
			want:    []string{`README.md:1 has "a.md", README.zh.md:1 has "b.md": make them the same`},
		},
		"another level": {
			english: "## A",
			chinese: "### 甲",
			want:    []string{`README.md:1 has "##", README.zh.md:1 has "###": make them the same`},
		},
		"a section less in the middle": {
			english: "## A\n`a`\n## B\n`b`\n## C\n`c`",
			chinese: "## 甲\n`a`\n## 丙\n`c`",
			want:    []string{`README.zh.md lacks the section README.md:3 "B": translate it`},
		},
		"a section more at the end": {
			english: "## A",
			chinese: "## 甲\n## 乙",
			want:    []string{`README.md lacks the section README.zh.md:2 "乙": add it there, or take it out here`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, translationGaps(c.english, c.chinese)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
