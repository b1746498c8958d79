package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// runner lets dbtest stop its server at the end.
type runner struct{ m *testing.M }

func (r runner) Run() int { return dbtest.Run(r.m) }

// lineReaderName is the name by which this test binary answers lines.
const lineReaderName = "klingwatch-lines"

// TestMain makes this test binary be klingwatch when it is called by that name.
func TestMain(m *testing.M) {
	testscript.Main(runner{m}, map[string]func(){"klingwatch": main, lineReaderName: answerLines})
}

// Each script is a session of a person at a shell, on a database of its own.
func TestSessions(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			t := env.T().(testing.TB)
			env.Setenv("DATABASE_URL", dbtest.NewURL(t))
			env.Setenv("EMPTY_DATABASE_URL", dbtest.NewEmptyURL(t))
			return nil
		},
	})
}

func TestTheSettingsTableNamesEveryVariable(t *testing.T) {
	t.Parallel()
	for _, field := range settingFields() {
		if field.Tag.Get("envconfig") == "" || field.Tag.Get("desc") == "" {
			t.Errorf("%s has no name or no description", field.Name)
		}
	}
	if page, err := os.ReadFile("../../docs/settings.md"); err != nil || string(page) != settingsTable() {
		t.Errorf("docs/settings.md is old (%v): run make generate", err)
	}
}
