package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestSQLIsAnsweredWithPsqlOrWithout(t *testing.T) {
	t.Parallel()
	url := "DATABASE_URL=" + dbtest.NewURL(t)
	const query = "select 40 + 2 as answer, null as nothing; delete from klingwatch.tasks"
	for name, env := range map[string][]string{"psql": {url}, "no psql": {url, "PATH=/nowhere"}} {
		said := klingwatch(t, env, "sql", query)
		for _, part := range []string{"answer", "42", "DELETE 0"} {
			if !strings.Contains(strings.ToLower(said), strings.ToLower(part)) {
				t.Errorf("%s lacks %q:\n%s", name, part, said)
			}
		}
		said = klingwatch(t, env, "sql", "select 1 as first", "select 2 as second -- the last", "select 3 as third;")
		for _, part := range []string{"first", "second", "third"} {
			if !strings.Contains(said, part) {
				t.Errorf("%s lacks %q of several:\n%s", name, part, said)
			}
		}
		first := launch(t, env, "sql", "select nonsense", "create table klingwatch.later ()")
		if code, _ := first.ended(t); code != exitError || strings.Contains(first.stdout(), "CREATE") {
			t.Errorf("%s: it goes on after an error: exit code %d\n%s", name, code, first.stdout())
		}
		wrong := launch(t, env, "sql", "select nonsense")
		if code, stderr := wrong.ended(t); code != exitError || !strings.Contains(stderr, "nonsense") {
			t.Errorf("%s: exit code %d, %s", name, code, stderr)
		}
	}
}

// Others can read the arguments of a process.
func TestPsqlGetsThePasswordInItsEnvironment(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]struct{ args, env []string }{
		"postgres://u:p%40ss@db.example:5433/app?sslmode=require&pool_max_conns=4": {[]string{"postgres://u@db.example:5433/app?sslmode=require"}, []string{"PGPASSWORD=p@ss"}},
		"postgres://db.example/app":                                 {[]string{"postgres://db.example/app"}, nil},
		"host=db.example port=5433 user=u password=pass dbname=app": {nil, []string{"PGHOST=db.example", "PGPORT=5433", "PGUSER=u", "PGDATABASE=app", "PGPASSWORD=pass"}},
	} {
		args, env, err := psqlArgs(given)
		if err != nil || !slices.Equal(args, want.args) || !slices.Equal(env, want.env) {
			t.Errorf("%s: %v, %v, %v", given, args, env, err)
		}
	}
}
