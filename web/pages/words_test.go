package pages_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/web/pages/words"
)

var (
	spokenInTemplates = regexp.MustCompile(`\b(?:t|has) "([a-z_.]+)"`)
	begunInTemplates  = regexp.MustCompile(`\(print "([a-z_.]+)" `)
	quotedInGo        = regexp.MustCompile(`"([a-z]+(?:[._][a-z_]+)+|[a-z_]+)"`)
	placeholder       = regexp.MustCompile(`\{[a-z0-9]+\}`)
)

func read(t *testing.T, pattern string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))] = string(text)
	}
	return texts
}

// What a template says under a key that is not there is an error only when the page is
// shown.
func TestEveryPageHasItsWords(t *testing.T) {
	t.Parallel()
	for page, text := range read(t, "templates/*.html") {
		if page == "shared" {
			page = words.Common
		}
		for _, found := range spokenInTemplates.FindAllStringSubmatch(text, -1) {
			if key := found[1]; !words.Has(page, key) && !(page == words.Common && key == "title") {
				t.Errorf("templates/%s.html says %q: words/%s.json lacks it", page, key, page)
			}
		}
	}
}

func TestEveryTextIsInBothLanguages(t *testing.T) {
	t.Parallel()
	for page, texts := range words.Pages {
		for key, text := range texts {
			if strings.TrimSpace(text.EN) == "" || strings.TrimSpace(text.ZH) == "" {
				t.Errorf("words/%s.json: %q is empty in a language", page, key)
			}
			en, zh := placeholder.FindAllString(text.EN, -1), placeholder.FindAllString(text.ZH, -1)
			slices.Sort(en)
			slices.Sort(zh)
			if !slices.Equal(en, zh) {
				t.Errorf("words/%s.json: %q has %v in English and %v in Chinese", page, key, en, zh)
			}
		}
	}
}

// A key is spoken where it stands in a template or in Go, whole or by its beginning.
func TestNoWordIsLeftOver(t *testing.T) {
	t.Parallel()
	spoken, begun := map[string]bool{}, []string{}
	for _, text := range read(t, "templates/*.html") {
		for _, found := range spokenInTemplates.FindAllStringSubmatch(text, -1) {
			spoken[found[1]] = true
		}
		for _, found := range begunInTemplates.FindAllStringSubmatch(text, -1) {
			begun = append(begun, found[1])
		}
	}
	sources := read(t, "*.go")
	maps.Copy(sources, read(t, "story/*.go"))
	for name, text := range sources {
		if strings.HasSuffix(name, "_test") {
			continue
		}
		for _, found := range quotedInGo.FindAllStringSubmatch(text, -1) {
			spoken[found[1]] = true
		}
		for _, found := range regexp.MustCompile(`"([a-z_.]+[._])" ?\+`).FindAllStringSubmatch(text, -1) {
			begun = append(begun, found[1])
		}
	}
	for page, texts := range words.Pages {
		for key := range texts {
			byBeginning := slices.ContainsFunc(begun, func(b string) bool { return strings.HasPrefix(key, b) })
			if whole := spoken[key] || spoken[strings.TrimPrefix(key, "done.")]; !whole && !byBeginning && !strings.HasPrefix(key, "why.failed.") && !strings.HasPrefix(key, "why.canceled.") {
				t.Errorf("words/%s.json: nobody says %q", page, key)
			}
		}
	}
}
