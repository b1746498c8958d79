package migrations_test

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// answer reads one value.
func answer[T any](t *testing.T, q db.Querier, sql string, args ...any) (v T) {
	t.Helper()
	if err := q.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
	return v
}

func do(t *testing.T, q db.Querier, sql string, args ...any) {
	t.Helper()
	if _, err := q.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
}

// refreshNow does what a service does once a minute.
func refreshNow(t *testing.T, pool *pgxpool.Pool) (days int) {
	t.Helper()
	return answer[int](t, pool, `select klingwatch.refresh_reports()`)
}

func TestOneQueryTellsTheP95OfAWeekOverAllPaths(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	do(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, status, created_at, finished_at)
		select 't' || i, 'videos', case when i % 3 = 0 then 'text2video' else 'image2video' end, 'succeeded', at,
		       at + case when i % 3 = 0 then 20 + i else 300 + 7 * i end * interval '1 s'
		from generate_series(1, 600) i, lateral (select now() - (i % 7) * interval '1 day' - i * interval '1 s') as a (at)`)
	const merged = `select klingwatch.percentile(klingwatch.merge_durations(durations), $1) from klingwatch.report_daily where day > klingwatch.report_day() - 9`
	for _, refreshed := range []bool{false, true} {
		if refreshed {
			refreshNow(t, pool)
		}
		for _, fraction := range []float64{0.01, 0.5, 0.9, 0.95, 0.99, 1} {
			exact := answer[float64](t, pool, `select percentile_cont($1) within group (order by extract(epoch from finished_at - created_at)::float8) from klingwatch.tasks`, fraction)
			if got := answer[float64](t, pool, merged, fraction); math.Abs(got/exact-1) > 0.09 {
				t.Errorf("summarized %t: p%v is %.1f s, want about %.1f s", refreshed, 100*fraction, got, exact)
			}
		}
	}
	if v := answer[*float64](t, pool, `select klingwatch.percentile(null, 0.95)`); v != nil {
		t.Errorf("of nothing it is %v", *v)
	}
	for seconds, bucket := range map[float64]int{-1: 1, 0: 1, 1: 1, 1.01: 2, 2: 9, 4: 17, 86400: 133} {
		if got := answer[int](t, pool, `select klingwatch.duration_bucket($1)`, seconds); got != bucket {
			t.Errorf("%v s is in bucket %d, want %d", seconds, got, bucket)
		}
	}
}

// The verdict after an expiry says when we looked again, not how long the task took.
func TestALateEndIsCountedApart(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	do(t, pool, `insert into klingwatch.tasks (task_id, action, action2) select 't' || i, 'videos', 'text2video' from generate_series(1, 3) i`)
	end := func(id int64, status string) {
		t.Helper()
		task, err := db.GetPollTarget(t.Context(), pool, id, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		change := db.Change{Task: id, Created: task.CreatedAt, Version: task.Version, From: task.Status, Status: status, Deadline: time.Hour}
		if changed, err := db.ApplyChanges(t.Context(), pool, []db.Change{change}); err != nil || len(changed) != 1 {
			t.Fatal(changed, err)
		}
	}
	for _, status := range []string{db.Expired, db.Succeeded} {
		end(1, status)
	}
	end(2, db.Succeeded)
	end(3, db.NotFound)
	if reopened, err := db.ReopenTasks(t.Context(), pool, []int64{3}, time.Hour); err != nil || len(reopened) != 1 {
		t.Fatal(reopened, err)
	}
	end(3, db.Succeeded)
	// one from before there was tasks.late
	do(t, pool, `insert into klingwatch.tasks (task_id, action, action2, status, created_at, deadline_at, finished_at)
		values ('old', 'videos', 'text2video', 'succeeded', now() - interval '1 s', now() - interval '0.5 s', now())`)
	got := table(t, pool, `select sum(succeeded) as succeeded, sum(late) as late, sum(retried) as retried, (select sum(n) from unnest(klingwatch.merge_durations(durations)) n) as measured, sum(units) as units
		from klingwatch.report_daily`)
	if want := "succeeded  late  retried  measured  units\n4          2     1        1         null\n"; got != want {
		t.Errorf("\n%swant\n%s", got, want)
	}
}

func TestFailuresOfAWeekAreThoseOfItsDays(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	do(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, status, status_message, created_at, finished_at)
		select 't' || i || kind, 'videos', kind, 'not_found', 'Task not found by id/external id: quick-unknown-always-' || i, at, at
		from generate_series(0, 29) i, unnest(array['text2video', 'image2video']) kind, lateral (select now() - i * interval '1 day') as a (at)`)
	refreshNow(t, pool)
	got := table(t, pool, `
		select action2, reason, sum(tasks) as tasks
		from klingwatch.report_failures
		where day > now() - interval '7 days' and action2 = 'text2video'
		group by action2, reason`)
	if want := "action2     reason                               tasks\ntext2video  Task not found by id/external id: #  7\n"; got != want {
		t.Errorf("\n%s", got)
	}
}

func TestDaysBeginWhereTheOperatorLives(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	// of ten days ago, which is day 0 here
	do(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, status, status_message, created_at, finished_at)
		select name, 'videos', 'text2video', 'failed', 'no', at, at
		from (values ('a', interval '22:30'), ('b', interval '23:30'), ('c', interval '-01:30')) as t (name, time),
		     lateral (select klingwatch.utc_midnight(klingwatch.utc_day(now()) - 10) + time) as m (at)`)
	const days = `select string_agg(day - (klingwatch.utc_day(now()) - 10) || ': ' || n, ', ' order by day) from (select day, sum(total) as n from klingwatch.report_daily group by day) d`
	for _, test := range []struct{ zone, want string }{
		{"UTC", "-1: 1, 0: 2"},
		{"Etc/GMT-1", "-1: 1, 0: 1, 1: 1"},
		{"Asia/Tokyo", "0: 1, 1: 2"},
		{"Etc/GMT+5", "-1: 1, 0: 2"},
	} {
		do(t, pool, `select klingwatch.set_report_time_zone($1)`, test.zone)
		refreshNow(t, pool)
		if got := answer[string](t, pool, days); got != test.want {
			t.Errorf("%s: %s, want %s", test.zone, got, test.want)
		}
		if failed := answer[int](t, pool, `select sum(tasks) from klingwatch.report_failures`); failed != 3 {
			t.Errorf("%s: %d failures", test.zone, failed)
		}
	}
	if _, err := pool.Exec(t.Context(), `select klingwatch.set_report_time_zone('Mars')`); err == nil {
		t.Error("any time zone is taken")
	}
}

// A zone whose day has not ended yet reads its tasks, not a summary.
func TestATimeZoneInTheWestTakesTodayBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	do(t, pool, `update klingwatch.report_state set summarized_until = (now() at time zone 'Pacific/Kiritimati')::date`)
	do(t, pool, `select klingwatch.set_report_time_zone('Pacific/Pago_Pago')`)
	do(t, pool, `insert into klingwatch.tasks (task_id, action, action2) values ('now', 'videos', 'text2video')`)
	if n := answer[int](t, pool, `select sum(total) from klingwatch.report_daily where day = (now() at time zone 'Pacific/Pago_Pago')::date`); n != 1 {
		t.Errorf("%d tasks today", n)
	}
}

func TestABackfillEntersTheReports(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	const (
		old    = `insert into klingwatch.tasks (task_id, action, action2, status, created_at, finished_at) select $1 || i, 'videos', 'text2video', 'succeeded', at, at + interval '1 min' from generate_series(1, 3) i, lateral (select now() - $2 * interval '1 day') a (at)`
		total  = `select coalesce(sum(total), 0) from klingwatch.report_daily where day = klingwatch.report_day(now() - $1 * interval '1 day')`
		queued = `select count(*) from klingwatch.days_to_summarize`
	)
	days := func(ago int) int { t.Helper(); return answer[int](t, pool, total, ago) }
	do(t, pool, `insert into klingwatch.tasks (task_id, action, action2) values ('new', 'videos', 'text2video')`)
	do(t, pool, `update klingwatch.tasks set metadata = '{"a": 1}'`)
	if n := answer[int](t, pool, queued); n != 0 {
		t.Errorf("%d days are noted although nothing is old", n)
	}
	do(t, pool, old, "a", 400)
	do(t, pool, old, "b", 3)
	if n := answer[int](t, pool, queued); n != 2 {
		t.Errorf("%d days are noted, not one for each statement", n)
	}
	if n := refreshNow(t, pool); n != 2 || days(400) != 3 || days(3) != 3 {
		t.Errorf("%d days were written; %d and %d tasks", n, days(400), days(3))
	}

	// two at once: each notes the day for itself, because the reports may be refreshed between their commits
	first, second := begun(t, pool), begun(t, pool)
	do(t, first, old, "c", 3)
	do(t, second, old, "d", 3)
	for i, tx := range []pgx.Tx{first, second} {
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		refreshNow(t, pool)
		if want := 6 + 3*i; days(3) != want {
			t.Errorf("%d tasks after %d backfills, want %d", days(3), i+2, want)
		}
	}

	// moved from one day to another
	do(t, pool, `update klingwatch.tasks set created_at = created_at - interval '1 day' where task_id like 'b%'`)
	if refreshNow(t, pool); days(3) != 6 || days(4) != 3 {
		t.Errorf("%d and %d tasks", days(3), days(4))
	}
	if n := refreshNow(t, pool); n != 0 {
		t.Errorf("%d days are written each time", n)
	}
}

func begun(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// Retention must not take what the reports have not seen.
func TestABackfillIsSummarizedBeforeItIsDeleted(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	do(t, pool, `insert into klingwatch.tasks (task_id, action, action2, status, created_at, finished_at)
		values ('old', 'videos', 'text2video', 'succeeded', now() - interval '90 days', now() - interval '90 days')`)
	prune := func() int {
		t.Helper()
		n, err := db.PruneTasks(t.Context(), pool, 30*24*time.Hour, 10)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := prune(); n != 0 {
		t.Errorf("%d were deleted", n)
	}
	refreshNow(t, pool)
	if n := prune(); n != 1 {
		t.Errorf("%d were deleted after the summary", n)
	}
	refreshNow(t, pool)
	if n := answer[int](t, pool, `select sum(total) from klingwatch.report_daily`); n != 1 {
		t.Errorf("the report tells of %d", n)
	}
}

// Days that the version before has summarized get the new columns by and by.
func TestSummariesOfBeforeAreWrittenAnew(t *testing.T) {
	t.Parallel()
	pool := before(t)
	upgrade(t, pool)
	const missing = `select count(*) from klingwatch.report_daily where p50_seconds is not null and (p95_seconds is null or durations is null or late is null)`
	if n := answer[int](t, pool, missing); n == 0 {
		t.Fatal("there are no summaries of before")
	}
	refreshNow(t, pool)
	if n := answer[int](t, pool, missing); n != 0 {
		t.Errorf("%d rows lack the new columns", n)
	}
}

func TestReportsByMetadata(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	do(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, metadata, status, unit_deduction, created_at, finished_at)
		select 't' || i, 'videos', 'text2video', case when i % 4 < 3 then jsonb_build_object('customer', i % 4) else '{}' end,
		       case when i % 5 = 0 then 'failed' else 'succeeded' end, case when i % 4 < 2 then 2.5 end, at, at
		from generate_series(1, 80) i, lateral (select now() - (i % 2) * interval '2 days') a (at)`)
	refreshNow(t, pool)
	reader := loginAs(t, pool, "klingwatch_reader")
	report := func() []string {
		t.Helper()
		return answer[[]string](t, reader, `
			select array_agg(concat_ws(' ', klingwatch.report_day() - day, coalesce(value, 'none'), total, open, succeeded, failed, coalesce(units::text, 'unknown')) order by day, value)
			from klingwatch.report_by_metadata('customer')`)
	}
	want := []string{"2 1 20 0 16 4 50.0", "2 none 20 0 16 4 unknown", "0 0 20 0 16 4 50.0", "0 2 20 0 16 4 unknown"}
	if got := report(); !slices.Equal(got, want) {
		t.Errorf("read from the tasks: %q", got)
	}
	for range 2 { // a second time does no harm
		do(t, pool, `select klingwatch.summarize_metadata('customer')`)
	}
	if got := report(); !slices.Equal(got, want) {
		t.Errorf("summarized: %q", got)
	}
	// past days are read from the summary, and follow what changes
	do(t, pool, `insert into klingwatch.tasks (task_id, action, action2, metadata, created_at) values ('late', 'videos', 'text2video', '{"customer": 1}', now() - interval '2 days')`)
	if got := report(); !slices.Equal(got, want) {
		t.Errorf("before the refresh: %q", got)
	}
	refreshNow(t, pool)
	if got := report(); got[0] != "2 1 21 1 16 4 50.0" {
		t.Errorf("after the refresh: %q", got)
	}
	if since := answer[int](t, reader, `select sum(total) from klingwatch.report_by_metadata('customer', klingwatch.report_day())`); since != 40 {
		t.Errorf("%d tasks since today", since)
	}
	do(t, pool, `select klingwatch.forget_metadata('customer')`)
	if n := answer[int](t, pool, `select count(*) from klingwatch.metadata_summaries`); n != 0 || len(report()) != len(want) {
		t.Errorf("%d summaries are left; %q", n, report())
	}
	denied(t, reader, `select klingwatch.summarize_metadata('customer')`, `select klingwatch.forget_metadata('customer')`, `select klingwatch.set_report_time_zone('UTC')`)
	denied(t, loginAs(t, pool, "klingwatch_producer"), `select * from klingwatch.report_by_metadata('customer')`)
}

func TestLateAndExhaustedWebhooksAreListed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	runFile(t, pool, "testdata/reports/recent.sql")
	do(t, pool, `update klingwatch.deliveries set delivered_at = created_at + interval '90 s' where id = 2`)
	got := table(t, pool, `
		select state, endpoint, type, count(*) as deliveries, bool_and(task_id is not null) as tasks, min(round(seconds)) filter (where state = 'delivered') as took,
		       bool_and((seconds > 0) = (state <> 'exhausted')) as waits, max(last_error) as error
		from klingwatch.report_deliveries
		group by state, endpoint, type
		order by state, type`)
	golden(t, "report_deliveries", got)
}
