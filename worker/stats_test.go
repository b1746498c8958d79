package worker

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/worker/deliver"
	"github.com/klingwatch/klingwatch/worker/poll"
)

// scrape reads /metrics: values by series, as served.
func scrape(t *testing.T, m *metrics.Metrics) map[string]float64 {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	values := map[string]float64{}
	for line := range strings.Lines(recorder.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		end := strings.LastIndex(line, " ")
		value, err := strconv.ParseFloat(strings.TrimSpace(line[end:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		values[line[:end]] = value
	}
	return values
}

// newSweeper is a sweeper of a worker that does not run.
func newSweeper(cfg Config) *sweeper {
	cfg.Metrics.WatchPool(cfg.Pool)
	asked := newRelays(context.Background(), cfg)
	asked.Set([]poll.Spec{{Name: db.DefaultRelay, Client: cfg.Relay, Rate: cfg.PollRate}})
	return &sweeper{cfg: cfg, asked: asked, clocks: &clocks{}, sender: deliver.New(deliver.Config{Pool: cfg.Pool, Metrics: &cfg.Metrics.Webhooks, Log: cfg.Log})}
}

func execute(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func TestFiguresAreWhatTheTablesHold(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	cfg := config(t, pool, relayURL)
	execute(t, pool,
		`insert into klingwatch.tasks (task_id, action, action2, status, polls, created_at, deadline_at, finished_at)
		 select name, 'videos', 'text2video', status, polls, now() + created, now() + deadline, now() + finished
		 from (values
			('new', 'pending', 0, '-30 s'::interval, null::interval, null::interval),
			('never-asked', 'pending', 0, '-1 h', null, null),
			('never-asked-and-past-its-deadline', 'pending', 0, '-30 min', '-2 h', null),
			('in-trouble-since-its-first-poll', 'pending', 3, '-1 h', '1 h', null),
			('runs', 'processing', 9, '-2 h', '1 h', null),
			('at-its-deadline', 'processing', 9, '-2 h', '-5 s', null),
			('should-have-expired', 'submitted', 9, '-20 h', '-10 min', null),
			('ended-in-time', 'succeeded', 9, '-20 h', '-10 h', '-12 h'),
			('expired', 'expired', 9, '-20 h', '-10 h', '-10 h')) as t (name, status, polls, created, deadline, finished)`,
		`insert into klingwatch.outputs (task, kind, position, url, expires_at)
		 select 8, 'video', hours, 'https://cdn.example/', now() + hours * interval '1 h' from unnest(array[1, 71, 73, 700]) as hours
		 union all
		 select 8, 'image', hours, 'https://cdn.example/', now() - hours * interval '1 h' from unnest(array[1, 12, 23, 25, 700]) as hours
		 union all
		 select 8, 'audio', 0, 'https://cdn.example/', null`,
		`insert into klingwatch.webhook_endpoints (url, event_types, failing_since, disabled_at) values
			('https://a.example/', '{task.succeeded}', null, null),
			('https://b.example/', '{task.succeeded}', now(), null),
			('https://c.example/', '{task.succeeded}', now(), now()),
			('https://d.example/', '{task.succeeded}', null, now())`,
		`insert into klingwatch.events (event_id, task, sequence, type, payload) select 'msg_' || i, 8, i, 'task.succeeded', '{}' from generate_series(1, 7) i`,
		`insert into klingwatch.deliveries (event, endpoint, url, state, next_attempt_at)
		 select id, 3, 'https://c.example/', (array['pending', 'pending', 'pending', 'pending', 'pending', 'delivered', 'exhausted'])[id],
		        case when id <= 3 then now() + interval '1 h' end from klingwatch.events`,
	)
	for range 2 {
		if _, err := db.AddRedelivery(t.Context(), pool, db.DeliveryChoice{States: []string{"exhausted"}}, 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, pool, `update klingwatch.bulk_actions set finished_at = now() where id = 1`)
	if err := errors.Join(newSweeper(cfg).sweep(t.Context(), true), New(cfg).measure(t.Context())); err != nil {
		t.Fatal(err)
	}
	got := scrape(t, cfg.Metrics)
	for series, want := range map[string]float64{
		`klingwatch_open_tasks{status="pending"}`:        4,
		`klingwatch_open_tasks{status="submitted"}`:      1,
		`klingwatch_open_tasks{status="processing"}`:     2,
		`klingwatch_overdue_tasks`:                       3,
		`klingwatch_webhook_deliveries{state="pending"}`: 3,
		`klingwatch_webhook_deliveries{state="parked"}`:  2,
		`klingwatch_webhook_endpoints{state="enabled"}`:  1,
		`klingwatch_webhook_endpoints{state="failing"}`:  1,
		`klingwatch_webhook_endpoints{state="disabled"}`: 2,
		`klingwatch_webhook_redeliveries`:                1,
		`klingwatch_outputs_expiring`:                    2,
		`klingwatch_outputs_expired`:                     3,
		`klingwatch_db_connections_max`:                  float64(pool.Config().MaxConns),
	} {
		if value, served := got[series]; !served || value != want {
			t.Errorf("%s is %v, want %v", series, value, want)
		}
	}
	if age := got["klingwatch_overdue_oldest_seconds"]; age < 3600 || age > 3600+patience.Seconds() {
		t.Errorf("the oldest overdue task is so for %v s, want an hour", age)
	}
	if age := time.Since(time.Unix(int64(got["klingwatch_last_sweep_timestamp_seconds"]), 0)); age < 0 || age > patience {
		t.Errorf("the last sweep was %s ago", age)
	}
	for _, table := range metrics.Tables {
		if got[`klingwatch_table_bytes{table="`+table+`"}`] == 0 {
			t.Errorf("%s has no size", table)
		}
	}
}

// An empty deployment is not overdue, and a sweep that fails leaves no time.
func TestFiguresOfAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	cfg := config(t, pool, relayURL)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newSweeper(cfg).sweep(ended, true); err == nil || scrape(t, cfg.Metrics)["klingwatch_last_sweep_timestamp_seconds"] != 0 {
		t.Errorf("a sweep that failed (%v) left its time", err)
	}
	if err := New(cfg).measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := scrape(t, cfg.Metrics)
	for _, series := range []string{"klingwatch_overdue_tasks", "klingwatch_overdue_oldest_seconds", "klingwatch_outputs_expired"} {
		if value, served := got[series]; !served || value != 0 {
			t.Errorf("%s is %v", series, value)
		}
	}
}

// The figures are read all the time, so they must not read what piles up.
func TestFiguresReadNoTableWhole(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	execute(t, pool,
		// without triggers: no jobs, no summaries
		`set local session_replication_role = replica;
		 insert into klingwatch.tasks (task_id, action, action2, status, polls, created_at, deadline_at, finished_at, status_message)
		 select 't' || i, 'videos', 'text2video', 'succeeded', 9, now() - (20000 - i) * interval '5 min', now(), now() - (20000 - i) * interval '5 min', repeat('x', 200)
		 from generate_series(1, 20000) i;
		 insert into klingwatch.outputs (task, kind, position, url, expires_at)
		 select id, 'video', 0, 'https://cdn.example/' || repeat('x', 100), finished_at + interval '30 days' from klingwatch.tasks order by id;
		 insert into klingwatch.events (event_id, task, sequence, type, payload) select 'msg_' || id, id, 1, 'task.succeeded', '{}' from klingwatch.tasks;
		 insert into klingwatch.deliveries (event, url, state) select id, 'https://a.example/', 'delivered' from klingwatch.events`,
		`vacuum (analyze) klingwatch.tasks, klingwatch.outputs, klingwatch.events, klingwatch.deliveries`,
	)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	read := func() (scans, rows int) {
		err := tx.QueryRow(t.Context(), `
			select sum(seq_scan), sum(seq_tup_read + coalesce(idx_tup_fetch, 0))
			from pg_stat_xact_user_tables
			where relname in ('tasks', 'outputs', 'events', 'deliveries')`).Scan(&scans, &rows)
		if err != nil {
			t.Fatal(err)
		}
		return scans, rows
	}
	scansBefore, rowsBefore := read() // what this connection did before is in it
	if _, err := db.Stats(t.Context(), tx, Limits); err != nil {
		t.Fatal(err)
	}
	scans, rows := read()
	scans, rows = scans-scansBefore, rows-rowsBefore
	if scans != 0 || rows > 5000 { // four days of outputs and what is in the same blocks: about 2,000
		t.Errorf("%d sequential scans, %d rows read", scans, rows)
	}
}

// What a service tells while it works.
func TestPollsTellTheirLateness(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	cfg := config(t, pool, relayURL)
	track(t, pool, "videos/text2video", "", "a", "b", "c")
	stop := startWorker(t, cfg)
	await(t, "the tasks end", func() bool { return statuses(t, pool)[db.Succeeded] == 3 })
	await(t, "a sweep sees it", func() bool {
		got := scrape(t, cfg.Metrics)
		return got["klingwatch_last_sweep_timestamp_seconds"] > 0 && got[`klingwatch_open_tasks{status="processing"}`] == 0
	})
	stop()
	got := scrape(t, cfg.Metrics)
	polls := got["klingwatch_poll_duration_seconds_count"]
	if polls < 3 || got["klingwatch_poll_lateness_seconds_count"] < polls || got["klingwatch_poll_rate_wait_seconds_count"] < polls {
		t.Errorf("%v polls, %v with a lateness, %v with a wait", polls,
			got["klingwatch_poll_lateness_seconds_count"], got["klingwatch_poll_rate_wait_seconds_count"])
	}
	if late := got["klingwatch_poll_lateness_seconds_sum"] / polls; late < 0 || late > 5 {
		t.Errorf("polls are %v s late", late)
	}
	if got["klingwatch_db_acquires_total"] == 0 {
		t.Error("no connection was ever taken")
	}
}

// metrics knows no package of ours: that its label values are the words of the
// code is seen here.
func TestLabelsAreTheWordsOfTheCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		got, words []string
	}{
		{"PollOutcomes", metrics.PollOutcomes, constants(t, "poll/verdict.go", func(c *ast.ValueSpec) bool {
			kind, ok := c.Type.(*ast.Ident)
			return ok && kind.Name == "pollOutcome"
		})},
		{"AttemptResults", metrics.AttemptResults, append(constants(t, "../webhook/result.go", func(c *ast.ValueSpec) bool {
			return strings.HasPrefix(c.Names[0].Name, "Error")
		}), "delivered")},
		{"OpenStatuses", metrics.OpenStatuses, slices.DeleteFunc(slices.Clone(db.Statuses), db.Terminal)},
		{"ChangeStatuses", metrics.ChangeStatuses, slices.DeleteFunc(slices.Clone(db.Statuses), func(s string) bool { return s == db.Pending })},
	} {
		if !slices.Equal(slices.Sorted(slices.Values(c.got)), slices.Sorted(slices.Values(c.words))) {
			t.Errorf("metrics.%s is %q, the code says %q", c.name, c.got, c.words)
		}
	}
}

// constants reads the values of string constants from a source file.
func constants(t *testing.T, name string, wanted func(*ast.ValueSpec) bool) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !wanted(spec) {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		return true
	})
	return values
}
