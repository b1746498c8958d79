package main

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

var (
	shellBlock  = regexp.MustCompile("(?s)```sh\n(.*?)```")
	inlineShell = regexp.MustCompile("`(klingwatch [^`]+)`")
	localLink   = regexp.MustCompile(`\]\(([^):]*?)(?:#([^)]*))?\)`)
	heading     = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchor = regexp.MustCompile(`[^a-z0-9 _-]`)
	inBrackets  = regexp.MustCompile(`\[[A-Z][^\]]*\.\.\.\]|[\[\]]`) // [ID...] goes, [--flag value] stays
)

// placeholders of the documents, and what a person would write.
var placeholders = strings.NewReplacer(" ID", " 1", "WHEN", "24h", " URL", " https://app.example/hook")

// Every command line that the documents show is understood.
func TestEveryDocumentedCommandIsUnderstood(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md", "../../README.zh.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandLines(string(text)) {
			found++
			parser, err := kong.New(&commands{}, kong.Name("klingwatch"), kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}),
				kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(asMeant(strings.Fields(line)[1:])); err != nil && !strings.HasPrefix(err.Error(), "expected one of") {
				t.Errorf("%s: %s: %v", filepath.Base(page), line, err)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d command lines were found", found)
	}
}

// Every link between the documents leads to a file, and to a heading where it
// names one.
func TestEveryLinkOfTheDocumentsLeadsSomewhere(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md", "../../README.zh.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range localLink.FindAllStringSubmatch(string(text), -1) {
			found++
			target := page // of a link within it
			if link[1] != "" {
				target = filepath.Join(filepath.Dir(page), link[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", page, link[0], err)
				continue
			}
			if anchor := link[2]; anchor != "" && !slices.Contains(anchorsOf(t, target), anchor) {
				t.Errorf("%s: %s has no heading %q", page, target, anchor)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d links were found", found)
	}
}

// anchorsOf returns what a link to a heading of a page may name.
func anchorsOf(t *testing.T, page string) (anchors []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range heading.FindAllStringSubmatch(string(text), -1) {
		anchors = append(anchors, strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-"))
	}
	return anchors
}

// commandLines returns the klingwatch commands of a page, as a person would type
// them.
func commandLines(page string) (lines []string) {
	for _, block := range shellBlock.FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[1]) {
			line, _, _ = strings.Cut(line, "#")
			line = strings.TrimPrefix(strings.TrimSpace(line), "go run ./cmd/")
			if strings.HasPrefix(line, "klingwatch ") {
				lines = append(lines, line)
			}
		}
	}
	for _, inline := range inlineShell.FindAllStringSubmatch(page, -1) {
		lines = append(lines, inline[1])
	}
	for i, line := range lines {
		lines[i] = placeholders.Replace(inBrackets.ReplaceAllString(line, ""))
	}
	return lines
}
