// Package deploy_test checks that the files that deploy klingwatch fit its code:
// the settings, metrics and routes that they name exist, alerts fire when they
// should, and no container has more rights than it needs. It also reads
// docker-compose.yml, Dockerfile and .env.example of the root.
//
// It is a module of its own, because reading the files of Compose, Kubernetes and
// Prometheus takes more modules than the service itself. Run it with make test, or
// here with go test -count=1 ./...: the go command does not see changes of files
// outside a module, so without -count=1 it may print an old result.
package deploy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// drain is how long serve takes to stop; whatever stops it must wait for longer.
const drain = 10 * time.Second

// settingNames reads the tags of the settings from their source.
func settingNames(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../cmd/klingwatch/settings.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(file, func(node ast.Node) bool {
		field, ok := node.(*ast.Field)
		if !ok || field.Tag == nil {
			return true
		}
		tag, err := strconv.Unquote(field.Tag.Value)
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := reflect.StructTag(tag).Lookup("envconfig"); ok {
			names = append(names, name)
		}
		return true
	})
	if len(names) == 0 {
		t.Fatal("found no settings in cmd/klingwatch/settings.go")
	}
	return names
}

// checkSettings fails for names that klingwatch does not read.
func checkSettings(t *testing.T, who string, names func(func(string) bool)) {
	t.Helper()
	known := settingNames(t)
	for name := range names {
		if !slices.Contains(known, name) {
			t.Errorf("%s: %s is not a setting of klingwatch", who, name)
		}
	}
}

// servedPaths reads the routes from their source.
func servedPaths(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, route := range regexp.MustCompile(`mux\.Handle(?:Func)?\("GET (/[^"]*)"`).FindAllStringSubmatch(read(t, "../web/web.go"), -1) {
		paths = append(paths, route[1])
	}
	return paths
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
