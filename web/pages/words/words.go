// Package words holds what the pages say, in each language, a file a page:
//
//	{"title": {"en": "Tasks", "zh": "任务"},
//	 "found": {"en": "{n} tasks", "one": "{n} task", "zh": "{n} 个任务"}}
//
// common.json holds what several pages say. "one" is the English text where n is 1.
package words

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"path"
	"strings"

	"golang.org/x/text/language"
)

//go:embed *.json
var files embed.FS

// Common is the page whose words all pages may use.
const Common = "common"

// Languages are those that the pages speak, the usual one first.
var Languages = []string{"en", "zh"}

var matcher = language.NewMatcher([]language.Tag{language.English, language.SimplifiedChinese})

// Text is a text in each language.
type Text struct {
	EN  string `json:"en"`
	One string `json:"one,omitempty"` // in English, where n is 1; "": as EN
	ZH  string `json:"zh"`
}

// Pages are the words of all pages, by page and key.
var Pages = load()

func load() map[string]map[string]Text {
	pages := map[string]map[string]Text{}
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err)
	}
	for _, entry := range entries {
		text, err := files.ReadFile(entry.Name())
		words := map[string]Text{}
		if err == nil {
			err = json.Unmarshal(text, &words)
		}
		if err != nil {
			panic(fmt.Sprintf("words: %s: %v", entry.Name(), err))
		}
		pages[strings.TrimSuffix(entry.Name(), path.Ext(entry.Name()))] = words
	}
	return pages
}

// Choose returns the language of a request: the chosen one, else what its browser prefers.
func Choose(chosen, acceptLanguage string) string {
	for _, known := range Languages {
		if chosen == known {
			return known
		}
	}
	_, at := language.MatchStrings(matcher, acceptLanguage)
	return Languages[at]
}

// Say returns what a page says under a key. args are names with their values, which
// take the place of {name}; as HTML where one of them is HTML. It panics for a key that
// the page does not have: a test looks for each.
func Say(lang, page, key string, args ...any) any {
	text, known := Pages[page][key]
	if !known {
		text, known = Pages[Common][key]
	}
	if !known {
		panic(fmt.Sprintf("the page %s has no words for %q", page, key))
	}
	said := text.EN
	switch {
	case lang == "zh":
		said = text.ZH
	case text.One != "" && isOne(args):
		said = text.One
	}
	return fill(said, args)
}

// Has reports whether a page has words for a key.
func Has(page, key string) bool {
	_, own := Pages[page][key]
	_, common := Pages[Common][key]
	return own || common
}

func isOne(args []any) bool {
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == "n" {
			return fmt.Sprint(args[i+1]) == "1"
		}
	}
	return false
}

func fill(text string, args []any) any {
	html := false
	for _, arg := range args {
		_, is := arg.(template.HTML)
		html = html || is
	}
	if html {
		text = template.HTMLEscapeString(text)
	}
	pairs := make([]string, 0, len(args))
	for i := 0; i+1 < len(args); i += 2 {
		value := fmt.Sprint(args[i+1])
		if _, is := args[i+1].(template.HTML); html && !is {
			value = template.HTMLEscapeString(value)
		}
		pairs = append(pairs, "{"+fmt.Sprint(args[i])+"}", value)
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	if html {
		return template.HTML(text)
	}
	return text
}
