package words

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed texts/*.json
var texts embed.FS

// Texts are what other parts of klingwatch say in English, with the same in Chinese. {}
// stands for what differs; in Chinese, {1} is the first of these.
var Texts = loadTexts()

func loadTexts() map[string]string {
	text, err := texts.ReadFile("texts/doctor.json")
	known := map[string]string{}
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil {
		panic(fmt.Sprintf("words: texts/doctor.json: %v", err))
	}
	return known
}

// pattern recognises a text.
type pattern struct {
	english *regexp.Regexp
	chinese string
}

// patterns recognise all texts, the longest first: a short one may be part of a long one.
var patterns = compile(Texts)

func compile(known map[string]string) (list []pattern) {
	english := make([]string, 0, len(known))
	for text := range known {
		english = append(english, text)
	}
	slices.SortFunc(english, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	for _, text := range english {
		expression := strings.ReplaceAll(regexp.QuoteMeta(text), `\{\}`, `(.*?)`)
		list = append(list, pattern{regexp.MustCompile(`^(?s:` + expression + `)$`), known[text]})
	}
	return list
}

// Translate returns in a language what a part of klingwatch has said in English. What is
// not known stays English.
func Translate(lang, text string) string {
	if lang != "zh" || text == "" {
		return text
	}
	for _, p := range patterns {
		found := p.english.FindStringSubmatch(text)
		if found == nil {
			continue
		}
		pairs := []string{}
		for i, differs := range found[1:] {
			pairs = append(pairs, "{"+strconv.Itoa(i+1)+"}", Translate(lang, differs))
		}
		return strings.NewReplacer(pairs...).Replace(p.chinese)
	}
	if parts := strings.Split(text, "; "); len(parts) > 1 {
		for i, part := range parts {
			parts[i] = Translate(lang, part)
		}
		return strings.Join(parts, ";")
	}
	return text
}
