package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var (
	shellBlock  = regexp.MustCompile("(?s)```sh\n(.*?)```")
	inlineShell = regexp.MustCompile("`(klingwatch [^`]+)`")
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
	for _, page := range append(pages, "../../README.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandLines(string(text)) {
			found++
			parser, err := kong.New(&commands{}, kong.Name("klingwatch"), kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(strings.Fields(line)[1:]); err != nil && !strings.HasPrefix(err.Error(), "expected one of") {
				t.Errorf("%s: %s: %v", filepath.Base(page), line, err)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d command lines were found", found)
	}
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
