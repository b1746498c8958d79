package main

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// forbidden are the commands that a role may not use, each with who may.
var forbidden = map[string]map[string][]string{
	"klingwatch_reader": {
		"a role in klingwatch_producer may, and the owner of the tables": {"track videos/text2video x"},
		"a role in klingwatch_operator may, and the owner of the tables": {
			"retry 1", "retry --since 1h --yes", "cancel 2", "outputs archive --since 1h --yes", "bulk stop 1", "endpoints disable 1", "endpoints enable 1",
			"deliveries redeliver 1", "deliveries cancel 1",
		},
	},
	"klingwatch_operator": {
		"a role in klingwatch_producer may, and the owner of the tables": {"track videos/text2video x"},
		"only the owner of the tables may": {
			"endpoints remove 1 --yes", "endpoints add https://app.example/new", "endpoints edit 1 --thin", "endpoints rotate 1", "endpoints ping 1",
			"keys show", "keys rotate", "relays add second https://relay.example --key-file /run/key", "relays edit default --batch-size 3", "relays remove second",
		},
	},
}

var denial = regexp.MustCompile(`permission denied for |must be owner of |may not begin a bulk action`)

// Who is refused is told who may, and has changed nothing.
func TestARefusedCommandChangesNothing(t *testing.T) {
	t.Parallel()
	for role, refusals := range forbidden {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			databaseURL := dbtest.NewURL(t)
			fill(t, databaseURL)
			reader := readLines(t, append(slices.Clone(anyRelay), "DATABASE_URL="+loginIn(t, databaseURL, role)))
			before := contents(t, databaseURL)
			for who, lines := range refusals {
				for _, line := range lines {
					a := reader.answerTo(t, line)
					if a.Code != exitError || !denial.MatchString(a.Err) || !strings.HasSuffix(a.Err, who) || strings.Contains(a.Err, "SQLSTATE") {
						t.Errorf("%s: %s: exit code %d\n%s", role, line, a.Code, a.Err)
					}
					if after := contents(t, databaseURL); after != before {
						t.Fatalf("%s: %s was refused, but changed something: now there is\n%s", role, line, news(before, after))
					}
				}
			}
		})
	}
}

// news are the lines that came.
func news(before, after string) string {
	old := strings.Split(before, "\n")
	return strings.Join(slices.DeleteFunc(strings.Split(after, "\n"), func(line string) bool { return slices.Contains(old, line) }), "\n")
}

// contents are the rows of all tables, as text, and the indexes of tasks.
func contents(t *testing.T, databaseURL string) string {
	t.Helper()
	pool := open(t, databaseURL)
	defer pool.Close()
	texts := func(sql string) []string {
		rows, err := pool.Query(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := texts(`select indexdef from pg_indexes where schemaname = 'klingwatch' and tablename = 'tasks' order by 1`)
	for _, table := range texts(`select relname::text from pg_class where relnamespace = 'klingwatch'::regnamespace and relkind = 'r' order by 1`) {
		all = append(all, table)
		all = append(all, texts(`select row::text from klingwatch.`+table+` row order by 1`)...)
	}
	return strings.Join(all, "\n")
}

// A database that accepts no writes, as managed ones at a failover, is told in the words
// of serve; what only looks goes on.
func TestADatabaseThatAcceptsNoWritesIsToldInWords(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.NewURL(t)
	fill(t, databaseURL)
	env := append(anyRelay, "DATABASE_URL="+databaseURL)
	klingwatch(t, env, "keys", "show") // makes them
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, databaseURL).Exec(t.Context(), `alter database `+strings.TrimPrefix(u.Path, "/")+` set default_transaction_read_only = on`); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"track videos/text2video x", "retry 1", "cancel 2", "retry --since 1h --yes", "endpoints disable 1", "endpoints remove 1 --yes", "deliveries redeliver 1",
		"keys rotate", "relays add second https://relay.example --key-file /run/key", "migrate", "serve",
	} {
		code, stderr := launch(t, env, strings.Fields(line)...).ended(t)
		if code != exitError || !strings.HasSuffix(stderr, ": the database is read only: let DATABASE_URL name the primary, or wait until it accepts writes") {
			t.Errorf("%s: exit code %d\n%s", line, code, stderr)
		}
	}
	for _, line := range []string{"list", "show 1", "keys show", "endpoints list", "migrate --check"} {
		if code, stderr := launch(t, env, strings.Fields(line)...).ended(t); code != exitOK {
			t.Errorf("%s: exit code %d\n%s", line, code, stderr)
		}
	}
	doctor := launch(t, env, "doctor")
	if code, _ := doctor.ended(t); code != exitError || !strings.Contains(doctor.stdout(), "accepts no writes -> let DATABASE_URL name the primary") {
		t.Errorf("doctor: exit code %d\n%s", code, doctor.stdout())
	}
}
