// Package klingwatch_test holds what is true of the repository as a whole: who
// may import whom, where SQL lives, and which folders hold tests only.
package klingwatch_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/klingwatch/klingwatch"

// everything stands for all folders in a row of arrows.
const everything = "*"

// arrows is the architecture: what the Go files of a folder may import of ours.
// A folder is a step of the data flow; leaves know nothing of us.
var arrows = map[string][]string{
	".":                 {}, // this file only
	"cmd/klingwatch":    {everything},
	"cmd/klingbench":    {everything},
	"worker":            {"worker/poll", "worker/deliver", "worker/batch", "worker/fetch", "worker/keep", "archive", "ledger", "relays", "db", "klingapi", "webhook", "keyring", "metrics", "outbound"},
	"worker/poll":       {"worker/batch", "schedule", "ledger", "db", "klingapi", "metrics", "outbound", "tracing"},
	"worker/deliver":    {"worker/batch", "ledger", "db", "webhook", "keyring", "metrics", "outbound", "tracing"},
	"worker/batch":      {},
	"worker/fetch":      {"outbound"},
	"worker/keep":       {"worker/fetch", "archive", "ledger", "db", "outbound"},
	"web":               {"web/api", "db", "metrics", "webhook"},
	"web/callers":       {"db"},
	"web/pages":         {"web/pages/memory", "web/pages/story", "web/pages/assets", "web/pages/show", "web/pages/words", "web/pages/board", "web/callers", "archive", "doctor", "feed", "operate", "db", "db/reports", "lookback", "keyring", "readable", "webhook"},
	"web/pages/assets":  {},
	"web/pages/board":   {"doctor", "operate", "db", "db/reports", "lookback"},
	"web/pages/show":    {"readable"},
	"web/pages/memory":  {},
	"web/pages/story":   {"operate", "db"},
	"web/pages/words":   {},
	"web/api":           {"web/callers", "web/content", "archive", "feed", "operate", "ledger", "db", "db/reports", "lookback", "keyring", "metrics", "webhook"},
	"web/content":       {"archive"},
	"web/jobs":          {},
	"demo":              {"operate", "db", "webhook", "klingapi/klingsim"},
	"doctor":            {"archive", "operate", "relays", "db", "migrations", "klingapi", "keyring", "outbound", "readable"},
	"operate":           {"archive", "outbound", "ledger", "relays", "db", "lookback", "schedule", "klingapi", "klingapi/callback", "webhook", "keyring"},
	"ledger":            {"db", "webhook", "keyring"},
	"feed":              {"db", "metrics"},
	"relays":            {"db", "keyring", "klingapi"},
	"schedule":          {"db"},
	"klingapi/klingsim": {"klingapi", "webhook"},
	"klingapi/callback": {"webhook"},
	"db/dbtest":         {"db", "embeddedpg", "migrations"},
	"db":                {"lookback"},
	"db/reports":        {"db"},
	"embeddedpg":        {},
	"archive":           {"outbound"},
	"keyring":           {},
	"klingapi":          {"outbound"},
	"deploy":            {}, // tests only, a module of its own: it reads our files, and imports nothing of ours
	"lookback":          {},
	"metrics":           {},
	"migrations":        {},
	"outbound":          {},
	"readable":          {},
	"tracing":           {"outbound"},
	"webhook":           {"outbound"},

	"webhook/webhooktest": {"webhook"},
	"archive/archivetest": {},

	// klingbench: measurements stand on bench, bench on the processes that it starts
	"cmd/klingbench/apis":          {"cmd/klingbench/polls", "cmd/klingbench/reports", "cmd/klingbench/completions", "cmd/klingbench/callers", "cmd/klingbench/bench", "cmd/klingbench/contender", "cmd/klingbench/standin", "cmd/klingbench/process", "cmd/klingbench/figures", "operate", "db", "metrics"},
	"cmd/klingbench/archives":      {"cmd/klingbench/polls", "cmd/klingbench/completions", "cmd/klingbench/bench", "cmd/klingbench/contender", "cmd/klingbench/standin", "cmd/klingbench/process", "cmd/klingbench/figures", "archive", "worker/keep", "db"},
	"cmd/klingbench/polls":         {"cmd/klingbench/bench", "cmd/klingbench/contender", "cmd/klingbench/standin", "cmd/klingbench/process", "cmd/klingbench/figures", "db", "klingapi"},
	"cmd/klingbench/fleets":        {"cmd/klingbench/polls", "cmd/klingbench/bench", "cmd/klingbench/contender", "cmd/klingbench/standin", "cmd/klingbench/process", "cmd/klingbench/figures"},
	"cmd/klingbench/webhooks":      {"cmd/klingbench/completions", "cmd/klingbench/bench", "cmd/klingbench/contender", "cmd/klingbench/standin", "cmd/klingbench/process", "cmd/klingbench/figures", "webhook"},
	"cmd/klingbench/completions":   {"cmd/klingbench/bench", "cmd/klingbench/figures", "cmd/klingbench/standin", "ledger", "db"},
	"cmd/klingbench/callers":       {"cmd/klingbench/process"},
	"cmd/klingbench/reports":       {"cmd/klingbench/bench", "cmd/klingbench/contender", "cmd/klingbench/standin", "cmd/klingbench/figures", "db"},
	"cmd/klingbench/latencies":     {"cmd/klingbench/bench", "cmd/klingbench/contender", "cmd/klingbench/standin", "cmd/klingbench/process", "cmd/klingbench/figures", "operate", "db"},
	"cmd/klingbench/checks":        {"cmd/klingbench/figures"},
	"cmd/klingbench/schedules":     {"cmd/klingbench/figures", "schedule"},
	"cmd/klingbench/capacities":    {"cmd/klingbench/figures", "worker/poll"},
	"cmd/klingbench/chaos":         {"cmd/klingbench/chaos/cluster", "cmd/klingbench/bench", "cmd/klingbench/process", "cmd/klingbench/figures", "operate", "db", "klingapi/klingsim", "webhook", "outbound"},
	"cmd/klingbench/chaos/cluster": {"cmd/klingbench/bench", "cmd/klingbench/process", "embeddedpg"},
	"cmd/klingbench/bench":         {"cmd/klingbench/contender", "cmd/klingbench/standin", "cmd/klingbench/process", "cmd/klingbench/figures", "db", "embeddedpg", "migrations"},
	"cmd/klingbench/contender":     {"cmd/klingbench/standin", "cmd/klingbench/process", "worker", "worker/fetch", "archive", "web", "web/api", "web/pages", "feed", "db", "klingapi", "webhook", "metrics", "migrations"},
	"cmd/klingbench/standin":       {"cmd/klingbench/process", "webhook", "klingapi/klingsim"},
	"cmd/klingbench/process":       {"outbound"},
	"cmd/klingbench/figures":       {},
}

// Folders that are not part of the program.
var testsOnly = []string{".", "deploy"}

// Tests of the program may import what their folder may, the folder itself, and
// these.
var testArrows = []string{"db/dbtest", "klingapi/klingsim", "webhook/webhooktest", "archive/archivetest"}

// moreTestArrows are needed by the tests of single folders.
var moreTestArrows = map[string][]string{
	"db":         {"migrations"}, // queries are tested on the schema of the migrations
	"migrations": {"db"},
	"worker":     {"migrations", "tracing"},
	"web/api":    {"keyring"},
	"web/pages":  {"web/pages/memory", "web/pages/story", "metrics"},
}

// Names that say nothing about what a folder is for, and internal: everything
// here is one program, there is nobody to hide from.
var forbiddenNames = []string{"internal", "pkg", "utils", "util", "models", "helpers", "common"}

// Others' modules that belong to few folders.
var guardedModules = map[string][]string{
	"github.com/riverqueue": {"worker", "migrations", "cmd/klingbench/contender"}, // the queue could be replaced there; klingbench measures it bare
	"riverqueue.com":        {"worker"},                                           // its page about jobs
	// with what they bring along, they would be most of go.mod
	"github.com/compose-spec":          {"deploy"},
	"github.com/prometheus/prometheus": {"deploy"},
	"k8s.io":                           {"deploy"},
	"sigs.k8s.io":                      {"deploy"},
}

// Folders that may hold query text: db remembers, migrations make the schema,
// embeddedpg prepares a server before there is either, klingbench measures
// Postgres itself.
var sqlFolders = []string{"db", "migrations", "embeddedpg", "cmd/klingbench"}

// mostFiles of a program or library in one folder, tests left out: a reader must
// find each step where its name says.
const mostFiles = 18

// startsSQL recognises a string that begins like a statement.
var startsSQL = regexp.MustCompile(`(?is)^\s*(select\s.*\sfrom\s|select\s+\w+\(|insert\s+into\s|update\s+[\w."]+\s+set\s|delete\s+from\s|truncate\s+table\s|with\s+\w+\s+as\s*\(|(create|alter|drop)\s+(table|schema|index|role|database|function)\s)`)

func TestArchitecture(t *testing.T) {
	t.Parallel()
	sources, err := readSources(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems(sources) {
		t.Error(problem)
	}
}

func TestArchitectureTableIsCurrent(t *testing.T) {
	t.Parallel()
	for folder, targets := range arrows {
		for _, dir := range append([]string{folder}, targets...) {
			if info, err := os.Stat(dir); dir != everything && (err != nil || !info.IsDir()) {
				t.Errorf("%s is in the table arrows, but there is no such folder: remove the row", dir)
			}
		}
	}
}

// .dockerignore lists what is wanted, so a new folder must be added there.
func TestTheImageIsBuiltOfEveryFolder(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	wanted := strings.Fields(string(text))
	for folder := range arrows {
		top, _, _ := strings.Cut(folder, "/")
		if !slices.Contains(testsOnly, top) && !slices.Contains(wanted, "!"+top) {
			t.Errorf(".dockerignore keeps the folder %s from the build: add !%s", top, top)
		}
	}
}

func TestThePageForDevelopersListsEveryFolder(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/development.md")
	if err != nil {
		t.Fatal(err)
	}
	for folder := range arrows {
		if parent := path.Dir(folder); parent != "." && parent != "cmd" {
			continue // its parent's row is enough
		}
		if folder != "." && !strings.Contains(string(page), "`"+folder+"/`") {
			t.Errorf("docs/development.md does not list the folder %s: add a row that says what it is for", folder)
		}
	}
}

// The rules are worth nothing if they let a wrong file pass.
func TestArchitectureRulesBite(t *testing.T) {
	t.Parallel()
	const lead = "package p\n"
	imports := func(paths ...string) string {
		text := lead
		for _, p := range paths {
			text += "import _ \"" + p + "\"\n"
		}
		return text
	}
	for _, test := range []struct {
		name, file, text string
		want             string // part of the only problem; empty: none
	}{
		{"allowed", "worker/a.go", imports("context", module+"/db", "github.com/riverqueue/river"), ""},
		{"everything", "cmd/klingwatch/a.go", imports(module+"/worker", module+"/db/dbtest"), ""},
		{"leaf", "klingapi/a.go", imports(module + "/db"), "klingapi must not import db"},
		{"wrong way", "db/a.go", imports(module + "/worker"), "db must not import worker"},
		{"simulator in the service", "worker/a.go", imports(module + "/klingapi/klingsim"), "worker must not import klingapi/klingsim"},
		{"simulator in a test", "worker/a_test.go", imports(module+"/klingapi/klingsim", module+"/worker"), ""},
		{"test the wrong way", "webhook/a_test.go", imports(module + "/worker"), "the tests of webhook must not import worker"},
		{"new folder", "billing/a.go", lead, "the folder billing is not in the table"},
		{"below a known folder", "db/cache/a.go", lead, "the folder db/cache is not in the table"},
		{"nothing name", "worker/utils/a.go", lead, "the folder worker/utils is called utils"},
		{"program in the root", "main.go", lead, "main.go: the root holds architecture_test.go only"},
		{"second test in the root", "compose_test.go", lead, "compose_test.go: the root holds architecture_test.go only"},
		{"deployment test", "deploy/a_test.go", imports("k8s.io/api/core/v1", "github.com/prometheus/prometheus/promql"), ""},
		{"program in deploy", "deploy/a.go", lead, "deploy/a.go: deploy holds only tests"},
		{"below deploy", "deploy/kubernetes/a_test.go", lead, "the folder deploy/kubernetes is not in the table"},
		{"deployment test of ours", "deploy/a_test.go", imports(module + "/klingapi/klingsim"), "the tests of deploy must not import klingapi/klingsim"},
		{"deployment module elsewhere", "metrics/a_test.go", imports("github.com/prometheus/prometheus/promql"), "metrics must not import github.com/prometheus/prometheus/promql"},
		{"client of Prometheus", "metrics/a.go", imports("github.com/prometheus/client_golang/prometheus"), ""},
		{"queue elsewhere", "web/a.go", imports("github.com/riverqueue/river/rivertype"), "web must not import github.com/riverqueue/river/rivertype"},
		{"page of the queue elsewhere", "web/jobs/a.go", imports("riverqueue.com/riverui"), "web/jobs must not import riverqueue.com/riverui"},
		{"SQL elsewhere", "worker/a.go", lead + "const q = `\n\tselect id\n\tfrom klingwatch.tasks`", "worker/a.go:2: SQL"},
		{"SQL built elsewhere", "web/a.go", lead + `var q = "update klingwatch.tasks set " + x`, "web/a.go:2: SQL"},
		{"SQL at home", "db/a.go", lead + "const q = `select id from klingwatch.tasks`", ""},
		{"SQL in a test", "worker/a_test.go", lead + "const q = `delete from klingwatch.river_job`", ""},
		{"English", "cmd/klingwatch/a.go", lead + `var help = []string{"Update the schema.", "select a task", "with this", "Create a key"}`, ""},
		{"no sentence", "worker/a.go", lead + "type Worker struct{}", "Worker is exported without a sentence"},
		{"a method without a sentence", "worker/a.go", lead + "// T is.\ntype T struct{}\nfunc (*T) Run() {}", "Run is exported without a sentence"},
		{"sentences", "worker/a.go", lead + "// T is.\ntype T struct{}\n// The states.\nconst (\n\tA = 1\n\tB = 2\n)\nfunc (t) Run() {}\ntype t int", ""},
		{"not ours", "web/node_modules/x/a.go", lead, ""},
		{"data of tests", "web/testdata/a.go", "not Go", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sources, err := readSources(fstest.MapFS{test.file: {Data: []byte(test.text)}})
			if err != nil {
				t.Fatal(err)
			}
			got := problems(sources)
			switch {
			case test.want == "" && len(got) > 0:
				t.Errorf("refused: %q", got)
			case test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)):
				t.Errorf("got %q, want one problem with %q", got, test.want)
			}
		})
	}
}

// source is one Go file.
type source struct {
	file    string         // path from the root of the repository
	folder  string         // its folder, "." for the root
	test    bool           // a _test.go file
	imports []string       // as written
	strings map[int]string // string literals by line
	silent  []string       // exported names of a library without a sentence
}

// readSources parses every Go file here and now: the answers of go list may
// come from the cache of an earlier test run.
func readSources(repository fs.FS) ([]source, error) {
	var sources []source
	err := fs.WalkDir(repository, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			// what the go command leaves out, and what git does not know
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || slices.Contains([]string{"testdata", "node_modules", "vendor"}, base)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		text, err := fs.ReadFile(repository, name)
		if err != nil {
			return err
		}
		s, err := parseSource(name, text)
		sources = append(sources, s)
		return err
	})
	return sources, err
}

func parseSource(name string, text []byte) (source, error) {
	s := source{file: name, folder: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), strings: map[int]string{}}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		return s, err
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return s, err
		}
		s.imports = append(s.imports, imported)
	}
	if file.Name.Name != "main" && !s.test {
		s.silent = undocumented(file)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if value, err := strconv.Unquote(literal.Value); err == nil {
				s.strings[files.Position(literal.Pos()).Line] += value + "\n"
			}
		}
		return true
	})
	return s, nil
}

// undocumented lists the exported functions, methods, types, constants and
// variables without a comment, their own or that of their group.
func undocumented(file *ast.File) (names []string) {
	note := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		documented := slices.ContainsFunc(comments, func(c *ast.CommentGroup) bool { return c != nil })
		if name.IsExported() && !documented {
			names = append(names, name.Name)
		}
	}
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || ast.IsExported(receiverName(d.Recv.List[0].Type)) {
				note(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch one := spec.(type) {
				case *ast.TypeSpec:
					note(one.Name, one.Doc, one.Comment, d.Doc)
				case *ast.ValueSpec:
					for _, name := range one.Names {
						note(name, one.Doc, one.Comment, d.Doc)
					}
				}
			}
		}
	}
	return names
}

// receiverName is the name of a method's type.
func receiverName(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.StarExpr:
		return receiverName(e.X)
	case *ast.IndexExpr:
		return receiverName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// problems lists all that contradicts the rules, each with what to do.
func problems(sources []source) []string {
	var list []string
	unknown, files := map[string]bool{}, map[string]int{}
	for _, s := range sources {
		if _, known := arrows[s.folder]; !known {
			unknown[s.folder] = true
			continue
		}
		list = append(list, s.placeProblems()...)
		list = append(list, s.importProblems()...)
		list = append(list, s.sqlProblems()...)
		for _, name := range s.silent {
			list = append(list, fmt.Sprintf("%s: %s is exported without a sentence that says what it is", s.file, name))
		}
		if !s.test && path.Base(s.file) != "doc.go" {
			files[s.folder]++
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(files)) {
		if files[folder] > mostFiles {
			list = append(list, fmt.Sprintf("%s holds %d files, more than %d: find the nouns in it and give each a folder", folder, files[folder], mostFiles))
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(unknown)) {
		list = append(list, folderProblem(folder))
	}
	return list
}

func folderProblem(folder string) string {
	for name := range strings.SplitSeq(folder, "/") {
		if slices.Contains(forbiddenNames, name) {
			return fmt.Sprintf("the folder %s is called %s, which tells nothing: name it for the step or noun that it holds", folder, name)
		}
	}
	return fmt.Sprintf("the folder %s is not in the table arrows of architecture_test.go: add a row with what it may import, as little as possible", folder)
}

func (s source) placeProblems() []string {
	switch {
	case s.folder == "." && s.file != "architecture_test.go":
		return []string{s.file + ": the root holds architecture_test.go only: move it to the folder of its step"}
	case slices.Contains(testsOnly, s.folder) && !s.test:
		return []string{s.file + ": " + s.folder + " holds only tests: move it to the folder of its step"}
	}
	return nil
}

func (s source) importProblems() []string {
	var list []string
	who := s.folder
	if s.test {
		who = "the tests of " + s.folder
	}
	for _, imported := range s.imports {
		for guarded, folders := range guardedModules {
			if within(imported, guarded) && !slices.Contains(folders, s.folder) {
				list = append(list, fmt.Sprintf("%s: %s must not import %s: only %s may; give them a function for what is needed", s.file, s.folder, imported, strings.Join(folders, " and ")))
			}
		}
		ours, found := strings.CutPrefix(imported, module+"/")
		if found && !s.mayImport(ours) {
			list = append(list, fmt.Sprintf("%s: %s must not import %s (allowed: %s): hand it in from a caller, or move the code; change the table arrows of architecture_test.go only together with the design",
				s.file, who, ours, cmp.Or(strings.Join(arrows[s.folder], ", "), "nothing of ours")))
		}
	}
	return list
}

func (s source) mayImport(ours string) bool {
	allowed := arrows[s.folder]
	if s.test && !slices.Contains(testsOnly, s.folder) {
		allowed = slices.Concat(allowed, testArrows, moreTestArrows[s.folder], []string{s.folder})
	}
	return slices.Contains(allowed, ours) || slices.Contains(allowed, everything)
}

func (s source) sqlProblems() []string {
	if s.test || slices.ContainsFunc(sqlFolders, func(folder string) bool { return within(s.folder, folder) }) {
		return nil
	}
	var list []string
	for _, line := range slices.Sorted(maps.Keys(s.strings)) {
		if startsSQL.MatchString(s.strings[line]) {
			list = append(list, fmt.Sprintf("%s:%d: SQL belongs to db, one function per statement: move it there and call it", s.file, line))
		}
	}
	return list
}

// within reports whether a slash-separated path is root or below it.
func within(name, root string) bool {
	return name == root || strings.HasPrefix(name, root+"/")
}
