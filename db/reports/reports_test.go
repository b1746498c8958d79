package reports_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/db/reports"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func run(t testing.TB, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// filled is a database with a task of each kind that counts differently.
func filled(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := dbtest.New(t)
	run(t, pool, `insert into klingwatch.relays (name, base_url, key_source, key_file, poll_rate, batch_size) values ('other', 'https://other.example', 'key_file', '/key', 7, 5)`)
	run(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, relay, status, created_at, deadline_at, polls, last_error, finished_at, status_message) values
		('pending', 'videos', 'text2video', 'default', 'pending', now(), null, 0, null, null, ''),
		('never-asked', 'videos', 'text2video', 'default', 'pending', now() - interval '5 min', null, 0, null, null, ''),
		('troubled', 'videos', 'text2video', 'other', 'processing', now(), now() + interval '1 h', 3, 'no answer', null, ''),
		('late', 'videos', 'text2video', 'other', 'submitted', now() - interval '2 h', now() - interval '1 h', 3, null, null, ''),
		('done', 'videos', 'text2video', 'default', 'succeeded', now() - interval '3 min', now(), 3, null, now(), ''),
		('failed', 'videos', 'text2video', 'default', 'failed', now() - interval '3 min', now(), 3, null, now(), '=1+1')`)
	return pool
}

func TestOpenTasksAreCountedByRelay(t *testing.T) {
	t.Parallel()
	pool := filled(t)
	open := must(reports.OpenTasks(t.Context(), pool, 100))(t)
	if len(open) != 2 {
		t.Fatalf("%d relays: %+v", len(open), open)
	}
	if o := open[0]; o.Relay != "default" || o.Pending != 2 || o.Overdue != 1 || o.Troubled != 0 || o.Total() != 2 {
		t.Errorf("of default: %+v", o)
	}
	if o := open[1]; o.Relay != "other" || o.Submitted != 1 || o.Processing != 1 || o.Overdue != 1 || o.Troubled != 1 || o.PollRate != 7 {
		t.Errorf("of other: %+v", o)
	}
	if count := must(db.CountTasksUpTo(t.Context(), pool, db.TaskChoice{Overdue: true}, 100))(t); count.N != 2 {
		t.Errorf("the list has %d overdue tasks", count.N)
	}
	bounded := must(reports.OpenTasks(t.Context(), pool, 3))(t)
	if n := bounded[0].Total() + bounded[1].Total(); n != 3 {
		t.Errorf("up to 3 it counted %d", n)
	}
}

func TestWhatWaitsIsCounted(t *testing.T) {
	t.Parallel()
	pool := filled(t)
	if w := must(reports.CountWaiting(t.Context(), dbtest.New(t), 10))(t); w != (reports.Waiting{}) {
		t.Errorf("in an empty database: %+v", w)
	}
	run(t, pool, `
		insert into klingwatch.outputs (task, kind, position, url, expires_at, archive_state, archive_id)
		select id, 'image', i, 'https://cdn.example/' || i, now() + case when i < 4 then interval '1 h' else interval '3 days' end,
		       (array['pending', 'lost', null, 'pending', 'lost'])[i + 1], case when i <> 2 then 100 + i end
		from klingwatch.tasks, generate_series(0, 4) i where task_id = 'done'`)
	run(t, pool, `insert into klingwatch.webhook_endpoints (url, event_types, actions, disabled_at, disabled_reason, failing_since, last_error) values
		('https://fine.example', '{task.failed}', '{}', null, null, null, null), ('https://off.example', '{task.failed}', '{}', now(), 'gone', null, null), ('https://slow.example', '{task.failed}', '{}', null, null, now(), 'timeout')`)
	run(t, pool, `insert into klingwatch.events (event_id, task, sequence, type, payload) select 'msg_' || id, id, 1, 'task.' || status, '{}' from klingwatch.tasks order by id`)
	run(t, pool, `insert into klingwatch.deliveries (event, url, state, tries_since, next_attempt_at) select id, 'https://x.example', 'pending', now(), case when id % 2 = 0 then now() end from klingwatch.events`)
	want := reports.Waiting{Deliveries: 3, Held: 3, Files: 2, Expiring: 4}
	if w := must(reports.CountWaiting(t.Context(), pool, 10))(t); w != want {
		t.Errorf("it is %+v, want %+v", w, want)
	}
	trouble := must(reports.EndpointTrouble(t.Context(), pool, 10))(t)
	if len(trouble) != 2 || !trouble[0].Disabled || *trouble[0].Reason != "gone" || trouble[1].Disabled || *trouble[1].Reason != "timeout" {
		t.Errorf("in trouble: %+v", trouble)
	}
}

func TestTheLatestTaskIsTheOneOfTheLastEvent(t *testing.T) {
	t.Parallel()
	pool := filled(t)
	run(t, pool, `update klingwatch.tasks set created_at = created_at - interval '1 day', version = version + 1`)
	run(t, pool, `insert into klingwatch.events (event_id, task, sequence, type, payload) select 'msg_1', id, 1, 'task.succeeded', '{}' from klingwatch.tasks where task_id = 'never-asked'`)
	latest := must(reports.LatestTasks(t.Context(), pool, 3))(t)
	tasks := must(db.TasksOf(t.Context(), pool, latest[:1]))(t)
	if len(latest) != 3 || tasks[0].TaskID != "never-asked" {
		t.Errorf("the latest are %v, first %s", latest, tasks[0].TaskID)
	}
}

func TestHoursTellWhatHappenedInEach(t *testing.T) {
	t.Parallel()
	pool := filled(t)
	run(t, pool, `insert into klingwatch.events (event_id, task, sequence, type, payload, created_at)
		select 'msg_' || id, id, 1, 'task.' || status, '{}', case task_id when 'done' then now() - interval '5 hours' else now() end from klingwatch.tasks where finished_at is not null`)
	run(t, pool, `insert into klingwatch.deliveries (event, url, state, attempts, tries_since, created_at, delivered_at) select id, 'https://x.example', 'delivered', 2, now(), created_at, created_at from klingwatch.events`)
	hours := must(reports.Hours(t.Context(), pool, time.Now().Add(-23*time.Hour)))(t)
	if len(hours) != 24 {
		t.Fatalf("%d hours", len(hours))
	}
	now, before := hours[23], hours[18]
	if now.Failed != 1 || now.Succeeded != 0 || now.Webhooks != 1 || now.Again != 1 || now.Inserted < 1 {
		t.Errorf("now: %+v", now)
	}
	if before.Succeeded != 1 || before.Webhooks != 1 {
		t.Errorf("five hours ago: %+v", before)
	}
}

func TestEveryReportIsReadByItsChoice(t *testing.T) {
	t.Parallel()
	pool := filled(t)
	choice := reports.Choice{Since: time.Now().Add(-48 * time.Hour), Until: time.Now().Add(48 * time.Hour), Relay: "default", Limit: 5}
	for _, view := range reports.Views {
		report := must(reports.Read(t.Context(), pool, view.Name, choice))(t)
		if len(report.Columns) == 0 || len(report.Rows) > 5 {
			t.Errorf("%s: %d columns, %d rows", view.Name, len(report.Columns), len(report.Rows))
		}
		for _, row := range report.Rows {
			var values map[string]any
			if err := json.Unmarshal(row, &values); err != nil || view.Relay != "" && values[view.Relay] != "default" {
				t.Errorf("%s: %v %s", view.Name, err, row)
			}
		}
		// what people are shown can be run as it is, and finds the same
		tag, err := pool.Exec(t.Context(), view.SQL(choice))
		if err != nil || int(tag.RowsAffected()) != len(report.Rows) {
			t.Errorf("%s: %v: %d rows instead of %d\n%s", view.Name, err, tag.RowsAffected(), len(report.Rows), view.SQL(choice))
		}
	}
	if _, err := reports.Read(t.Context(), pool, "daily; drop table", choice); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown name: %v", err)
	}
	if in := must(reports.Read(t.Context(), pool, "in_flight", reports.Choice{Limit: 3}))(t); len(in.Rows) != 3 || !in.More {
		t.Errorf("of four rows: %d, more: %t", len(in.Rows), in.More)
	}
}

func TestAQuoteDoesNotEndTheSQL(t *testing.T) {
	t.Parallel()
	view, _ := reports.Find("daily")
	sql := view.SQL(reports.Choice{Relay: `'; drop table x; --`, Limit: 1})
	if !strings.Contains(sql, `relay = '''; drop table x; --'`) {
		t.Error(sql)
	}
}

func TestASpreadsheetGetsNoFormula(t *testing.T) {
	t.Parallel()
	report := must(reports.Read(t.Context(), filled(t), "failures", reports.Choice{Limit: 10}))(t)
	text := string(report.CSV())
	if !strings.HasPrefix(text, "status,error_code,reason,tasks") || !strings.Contains(text, "failed,,'=") {
		t.Error(text)
	}
}
