package migrations_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/migrations"
)

// stepsBefore is how many steps the version had that is upgraded here.
const stepsBefore = 9

// before returns a database of the version before, with rows in all states.
func before(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := emptyDatabase(t)
	if err := migrations.UpTo(t.Context(), pool, stepsBefore); err != nil {
		t.Fatal(err)
	}
	runFile(t, pool, "testdata/upgrade/rows.sql")
	return pool
}

// upgrade applies the steps that have come since.
func upgrade(t *testing.T, pool *pgxpool.Pool) []migrations.Migration {
	t.Helper()
	applied, err := migrations.Up(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

// contents are the rows of a table.
type contents struct {
	columns []string
	rows    []string // each a JSON object, sorted
}

// tables reads all tables of the schema. Of those in known only its columns are
// read: others have come since. A table of then may be a view now.
func tables(t *testing.T, pool *pgxpool.Pool, known map[string]contents) map[string]contents {
	t.Helper()
	read := func(sql string, args ...any) []string {
		t.Helper()
		rows, err := pool.Query(t.Context(), sql, args...)
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	all := map[string]contents{}
	for _, name := range read(`select relname from pg_class where relnamespace = 'klingwatch'::regnamespace and (relkind = 'r' or relname = any ($1))`, slices.Collect(maps.Keys(known))) {
		c := contents{columns: known[name].columns}
		if c.columns == nil {
			c.columns = read(`select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attname`, "klingwatch."+name)
		}
		c.rows = read(`
			select (select jsonb_object_agg(key, value)::text from jsonb_each(to_jsonb(r)) where key = any ($1))
			from klingwatch.`+pgx.Identifier{name}.Sanitize()+` r
			order by 1`, c.columns)
		all[name] = c
	}
	return all
}

func TestAnUpgradeKeepsEveryRow(t *testing.T) {
	t.Parallel()
	pool := before(t)
	old := tables(t, pool, nil)
	pending, err := migrations.Pending(t.Context(), pool)
	if err != nil || len(pending) == 0 || pending[0].Version != stepsBefore+1 {
		t.Fatalf("pending are %v, %v", pending, err)
	}
	if applied := upgrade(t, pool); !slices.Equal(applied, pending) {
		t.Errorf("applied %v, pending were %v", applied, pending)
	}
	now := tables(t, pool, old)
	for name, was := range old {
		switch is := now[name]; {
		case name == "migrations":
			if len(is.rows) != len(was.rows)+len(pending) {
				t.Errorf("%d steps are noted", len(is.rows))
			}
		case !slices.Equal(is.rows, was.rows):
			t.Errorf("%s\nwas %q\nis  %q", name, was.rows, is.rows)
		case len(was.rows) == 0 && !slices.Contains([]string{"river_client", "river_client_queue", "river_leader", "river_queue", "river_notification"}, name):
			t.Errorf("%s has no rows to be kept: add some to testdata/upgrade/rows.sql", name)
		}
	}
	// as new rows have them
	var statuses, touched, live, enders int
	if err := pool.QueryRow(t.Context(), `
		select (select count(distinct status) from klingwatch.tasks),
		       (select count(*) from klingwatch.tasks where version <> 0 and finished_at is null),
		       (select count(*) from klingwatch.live_jobs),
		       (select count(*) from klingwatch.tasks where ended_by is distinct from case status
		            when 'succeeded' then 'provider' when 'failed' then 'provider' when 'expired' then 'klingwatch' when 'not_found' then 'klingwatch' when 'canceled' then 'person' end)`).
		Scan(&statuses, &touched, &live, &enders); err != nil {
		t.Fatal(err)
	}
	if given, err := db.GiveMissingJobs(t.Context(), pool, time.Minute); err != nil || given != 0 || live == 0 {
		t.Errorf("%d live jobs are seen, %d are missed, %v", live, given, err)
	}
	if statuses != len(db.Statuses) || touched != 0 {
		t.Errorf("tasks have %d statuses; %d open ones were written by the upgrade", statuses, touched)
	}
	if enders != 0 {
		t.Errorf("%d tasks have another ended_by than their status says", enders)
	}
}

// While processes are replaced one by one, those of the version before write to the
// new schema.
func TestTheVersionBeforeWorksOnTheNewSchema(t *testing.T) {
	t.Parallel()
	pool := before(t)
	upgrade(t, pool)
	exec := func(sql string, args ...any) int64 {
		t.Helper()
		tag, err := pool.Exec(t.Context(), sql, args...)
		if err != nil {
			t.Fatalf("%v in %s", err, sql)
		}
		return tag.RowsAffected()
	}
	number := func(sql string, args ...any) (n int) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
			t.Fatalf("%v in %s", err, sql)
		}
		return n
	}
	version := func(task string) int {
		t.Helper()
		return number(`select version from klingwatch.tasks where task_id = $1`, task)
	}

	// a poll that changed something
	if n := exec(`
		update klingwatch.tasks t
		set status = c.status,
		    status_message = c.status_message,
		    polls = greatest(t.polls, c.polls),
		    finished_at = case when c.status not in ('pending', 'submitted', 'processing') then now() end
		from jsonb_to_recordset($1::jsonb) as c(task bigint, "from" text, status text, status_message text, polls int)
		where t.id = c.task and t.status = c."from"`,
		`[{"task": 1, "from": "pending", "status": "processing", "polls": 8, "status_message": ""}, {"task": 2, "from": "submitted", "status": "failed", "polls": 8, "status_message": "no"}]`); n != 2 {
		t.Errorf("%d tasks were changed", n)
	}
	// polls without news
	exec(`update klingwatch.tasks t
		set last_error = nullif(n.error, ''), polls = greatest(t.polls, n.polls), last_polled_at = now()
		from jsonb_to_recordset('[{"task": 1, "error": "timeout", "polls": 9}]') as n(task bigint, error text, polls int)
		where t.id = n.task and t.status in ('pending', 'submitted', 'processing', 'expired')`)
	// a person has a task asked again
	exec(`with reopened as (
			update klingwatch.tasks
			set status = 'pending', status_message = 'asked again by a person', last_error = null, last_polled_at = null, finished_at = null,
			    late_checks_until = null, retried_at = now(), deadline_at = now() + interval '1 d'
			where id = 5 and status in ('succeeded', 'failed', 'expired', 'not_found')
			returning id
		), given as (
			select klingwatch.give_jobs('poll', array_agg(id)) from reopened
		)
		select exists (select from reopened) from given`)
	for task, want := range map[string]int{"pending": 2, "submitted": 1, "failed": 3, "processing": 0} {
		if got := version(task); got != want {
			t.Errorf("the version of %s is %d, want %d", task, got, want)
		}
	}

	for task, want := range map[string]string{"pending": "", "submitted": "provider", "failed": ""} {
		var by string
		if err := pool.QueryRow(t.Context(), `select coalesce(ended_by, '') from klingwatch.tasks where task_id = $1`, task).Scan(&by); err != nil || by != want {
			t.Errorf("the version before ended %s by %q, want %q (%v)", task, by, want, err)
		}
	}

	// a new process decided on what one of the version before has written since
	pending, err := db.GetPollTarget(t.Context(), pool, 1, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stale := []db.Change{{Task: 1, Created: pending.CreatedAt, Version: 1, From: db.Processing, Status: db.Failed, Deadline: time.Hour}}
	if changed, err := db.ApplyChanges(t.Context(), pool, stale); err != nil || len(changed) != 0 {
		t.Errorf("a stale change: %v, %v", changed, err)
	}
	stale[0].Version = 2
	if changed, err := db.ApplyChanges(t.Context(), pool, stale); err != nil || len(changed) != 1 || version("pending") != 3 {
		t.Errorf("a change: %v, %v; the version is %d", changed, err, version("pending"))
	}

	// an app inserts a task, an event is delivered, a bulk redelivery begins
	exec(`insert into klingwatch.tasks (task_id, action, action2, external_id, callback_url, metadata, deadline_at)
		values ('new', 'videos', 'text2video', null, 'https://app.example/hook', '{}', now() + interval '1 h') on conflict (task_id, action, action2) do nothing`)
	exec(`insert into klingwatch.deliveries (event, endpoint, url, next_attempt_at) values (7, 1, 'https://fine.example/hook', now()), (7, 3, 'https://gone.example/hook', null)`)
	exec(`insert into klingwatch.redeliveries (since, until, states, per_second, last, matched) values (now(), now(), '{delivered}', 1, 0, 0)`)
	for row, want := range map[string]int{"poll:11": 1, "poll:5": 1, "deliver:7": 1, "deliver:8": 0, "bulk:3": 1} {
		if n := number(`select count(*) from klingwatch.river_job where unique_key = convert_to($1, 'UTF8') and state = 'available' and kind = split_part($1, ':', 1)`, row); n != want {
			t.Errorf("%s has %d jobs, want %d", row, n, want)
		}
	}

	// the sweep gives jobs to rows that have none
	exec(`delete from klingwatch.river_job`)
	given := number(`
		select coalesce(klingwatch.give_jobs('poll', (
			select array_agg(t.id)
			from klingwatch.tasks t
			where (t.finished_at is null or t.late_checks_until > now())
			  and not exists (select from klingwatch.river_job j
			                  where j.unique_key = klingwatch.job_key('poll', t.id) and j.unique_states is not null
			                    and klingwatch.river_job_state_in_bitmask(j.unique_states, j.state)
			                    and not (t.status = 'pending' and t.last_polled_at is null
			                             and j.scheduled_at > now() + interval '15 s')))), 0)`)
	if missing := number(`select count(*) from klingwatch.tasks where finished_at is null or late_checks_until > now()`); given != missing || number(`select count(*) from klingwatch.live_jobs`) != missing {
		t.Errorf("%d jobs were given, %d were missing", given, missing)
	}
}
