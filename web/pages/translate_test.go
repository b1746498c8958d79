package pages_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/doctor"
	"github.com/klingwatch/klingwatch/web/pages/words"
)

// A check without a title would make the overview fail.
func TestEveryCheckHasATitle(t *testing.T) {
	t.Parallel()
	for _, check := range doctor.Checks() {
		if !words.Has("overview", "check."+check) {
			t.Errorf(`words/overview.json lacks "check.%s"`, check)
		}
	}
	for _, state := range []doctor.State{doctor.OK, doctor.Warn, doctor.Bad, doctor.Skipped} {
		if !words.Has("overview", "doctor."+string(state)) {
			t.Errorf(`words/overview.json lacks "doctor.%s"`, state)
		}
	}
}

// What the doctor says is in its source: each of it has its Chinese, and nothing else has.
func TestWhatTheDoctorSaysIsTranslated(t *testing.T) {
	t.Parallel()
	said, sources := map[string]bool{}, ""
	for _, text := range read(t, "../../relays/*.go") {
		sources += text
	}
	for name, text := range read(t, "../../doctor/*.go") {
		if strings.HasSuffix(name, "_test") {
			continue
		}
		sources += strings.ReplaceAll(text, "%%", "%")
		for _, pattern := range saidIn(t, text) {
			said[pattern] = true
			if _, known := words.Texts[pattern]; !known {
				t.Errorf("words/texts/doctor.json lacks %q", pattern)
			}
		}
	}
	if len(said) < 100 {
		t.Errorf("only %d texts were found: the test has lost sight of them", len(said))
	}
	numbered := regexp.MustCompile(`\{\d+\}`)
	for english, chinese := range words.Texts {
		for piece := range strings.SplitSeq(english, "{}") {
			if !said[english] && !strings.Contains(sources, piece) {
				t.Errorf("words/texts/doctor.json: nobody says %q of %q", piece, english)
			}
		}
		if strings.Count(english, "{}") != len(numbered.FindAllString(chinese, -1)) {
			t.Errorf("words/texts/doctor.json: %q and %q do not have the same parts", english, chinese)
		}
	}
}

// saidIn are the texts in a source of the doctor that are handed to what makes a finding,
// with {} for what differs.
func saidIn(t *testing.T, source string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	patterns, global := map[string]bool{}, map[string]ast.Expr{}
	constants := global
	take := func(e ast.Expr, formatted bool) {
		if p := patternOf(e, constants, formatted); sentence.MatchString(p) {
			patterns[p] = true
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "overdue" { // it puts together what it is given
				return false
			}
			constants = maps.Clone(global)
		case *ast.ValueSpec:
			if len(n.Values) == 1 {
				constants[n.Names[0].Name] = n.Values[0]
			}
		case *ast.AssignStmt:
			if len(n.Lhs) == 1 && len(n.Rhs) == 1 && n.Tok == token.DEFINE {
				if name, is := n.Lhs[0].(*ast.Ident); is {
					constants[name.Name] = n.Rhs[0]
				}
			}
		case *ast.CompositeLit: // of keyAdvice
			if len(n.Elts) == 2 {
				take(n.Elts[1], false)
			}
		case *ast.CallExpr:
			name, _ := n.Fun.(*ast.Ident)
			if name == nil {
				return true
			}
			texts := map[string][]int{"skipped": {0}, "fine": {0, 1}, "warn": {0, 1, 2}, "bad": {0, 1, 2}, "append": {1}}[name.Name]
			formatted := map[string]int{"fine": 0, "warn": 1, "bad": 1}
			for _, i := range texts {
				if at, formats := formatted[name.Name]; i < len(n.Args) && (!formats || i <= at || patternOf(n.Args[at], constants, true) == "{}") {
					take(n.Args[i], formats && i == at)
				}
			}
			if name.Name == "overdue" {
				take(n.Args[1], false)
				if format, is := n.Args[2].(*ast.BasicLit); is {
					text, _ := strconv.Unquote(format.Value)
					patterns[verb.ReplaceAllString(text, "{}")+" for {}"] = true
				}
			}
		}
		return true
	})
	return slices.Sorted(maps.Keys(patterns))
}

// sentence recognises what is said: not code, and not only what differs.
var sentence = regexp.MustCompile(`[a-z]{2}[ :;,]`)

var verb = regexp.MustCompile(`%[+#.0-9]*[a-z]`)

// patternOf is a text with {} for what is not known before it is said.
func patternOf(e ast.Expr, constants map[string]ast.Expr, formatted bool) string {
	switch n := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(n.Value)
		if formatted {
			text = strings.ReplaceAll(verb.ReplaceAllString(text, "{}"), "%%", "%")
		}
		return text
	case *ast.BinaryExpr:
		return strings.ReplaceAll(patternOf(n.X, constants, formatted)+patternOf(n.Y, constants, formatted), "{}{}", "{}")
	case *ast.Ident:
		if value, known := constants[n.Name]; known {
			delete(constants, n.Name) // a variable may be made of itself
			defer func() { constants[n.Name] = value }()
			return patternOf(value, constants, formatted)
		}
	case *ast.CallExpr:
		if called, is := n.Fun.(*ast.SelectorExpr); is && called.Sel.Name == "Sprintf" {
			return patternOf(n.Args[0], constants, true)
		}
	}
	return "{}"
}
