package migrations_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// queueStep defines all that the schema knows of River's tables.
const queueStep = "015_queues.sql"

// storageStep sets how River's tables are stored, and knows nothing else of them.
const storageStep = "037_room_for_jobs.sql"

// history are the earlier steps that named River's tables: what they defined was
// defined anew in queueStep. They cannot change any more.
var history = []string{"001_tasks.sql", "003_jobs.sql", "006_delivery.sql", "011_jobs.sql"}

func TestOneStepKnowsTheQueue(t *testing.T) {
	t.Parallel()
	var knowing []string
	for name, sql := range steps(t) {
		if strings.Contains(sql, "river_") {
			knowing = append(knowing, name)
		}
	}
	if slices.Sort(knowing); !slices.Equal(knowing, append(slices.Clone(history), queueStep, storageStep)) {
		t.Errorf("%q know River's tables: only %s may, %s, and those that are history", knowing, queueStep, storageStep)
	}
}

// What is in force must be defined by that step, whatever earlier ones defined.
func TestAllThatKnowsTheQueueIsDefinedInOneStep(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	names := knowTheQueue(t, pool)
	for _, name := range []string{"add_jobs", "give_jobs", "live_jobs", "wake_workers"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not among %q: the test has lost sight of it", name, names)
		}
	}
	for _, name := range names {
		if by := definedBy(t, name); by != queueStep {
			t.Errorf("%s names River's tables and is defined by %q: define it in %s, or use klingwatch.live_jobs and klingwatch.give_jobs in it", name, by, queueStep)
		}
	}
	for name, sql := range map[string]string{
		"counts":   `create function klingwatch.counts() returns bigint language sql begin atomic select count(*) from klingwatch.river_job; end`,
		"talks":    `create function klingwatch.talks() returns void language sql as $$select pg_notify('klingwatch.river_insert', '')$$`,
		"looks":    `create view klingwatch.looks as select id from klingwatch.river_job`,
		"stores":   `create materialized view klingwatch.stores as select id from klingwatch.river_job`,
		"triggers": `create trigger triggers after insert on klingwatch.river_job execute function klingwatch.keep_id()`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(knowTheQueue(t, pool), name) || definedBy(t, name) != "" {
			t.Errorf("%s would go unnoticed", name)
		}
	}
}

// steps reads the SQL files by name.
func steps(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("*.sql")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// knowTheQueue returns the functions, views and triggers of ours whose definition
// in the database names River's tables or channels.
func knowTheQueue(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `
		with definition as (
			select proname as name, pg_get_functiondef(oid) as text
			from pg_proc
			where pronamespace = 'klingwatch'::regnamespace and prokind in ('f', 'p')
			union all
			select relname, pg_get_viewdef(oid)
			from pg_class
			where relnamespace = 'klingwatch'::regnamespace and relkind in ('v', 'm')
			union all
			select t.tgname, pg_get_triggerdef(t.oid)
			from pg_trigger t
			join pg_class c on c.oid = t.tgrelid
			where c.relnamespace = 'klingwatch'::regnamespace and not t.tgisinternal
		)
		select distinct name from definition where text like '%river\_%' and name not like 'river\_%' order by name`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// definedBy returns the last step that defines a function, view or trigger, "" for
// none.
func definedBy(t *testing.T, name string) string {
	t.Helper()
	definition := regexp.MustCompile(`(?i)create\s+(or\s+replace\s+)?(function|view|materialized\s+view|trigger)\s+(klingwatch\.)?` + regexp.QuoteMeta(name) + `\b`)
	texts := steps(t)
	for _, step := range slices.Backward(slices.Sorted(maps.Keys(texts))) {
		if definition.MatchString(texts[step]) {
			return step
		}
	}
	return ""
}
