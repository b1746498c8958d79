package migrations_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

var update = flag.Bool("update", false, "write the golden files and docs/sql.md anew")

// run executes statements of a file.
func runFile(t *testing.T, pool *pgxpool.Pool, name string) {
	t.Helper()
	sql, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), string(sql)); err != nil {
		t.Fatal(err)
	}
}

// table prints what a query returns, aligned.
func table(t *testing.T, pool *pgxpool.Pool, sql string) string {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for i, field := range rows.FieldDescriptions() {
		fmt.Fprint(w, map[bool]string{true: "\t"}[i > 0], field.Name)
	}
	fmt.Fprintln(w)
	for rows.Next() {
		for i, value := range rows.RawValues() {
			cell := string(value)
			if value == nil {
				cell = "null"
			}
			fmt.Fprint(w, map[bool]string{true: "\t"}[i > 0], cell)
		}
		fmt.Fprintln(w)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	_ = w.Flush()
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n") + "\n"
}

// golden compares with a file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "reports", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n got\n%swant\n%s", name, got, want)
	}
}

func refresh(t *testing.T, pool *pgxpool.Pool, today string) (days int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `select klingwatch.refresh_reports($1::date)`, today).Scan(&days); err != nil {
		t.Fatal(err)
	}
	return days
}

// januaryReports are queries whose answers do not depend on the time of the test.
var januaryReports = map[string]string{
	"report_daily":     `select * from klingwatch.report_daily order by day, action, action2`,
	"report_failures":  `select * from klingwatch.report_failures order by tasks desc, reason`,
	"report_in_flight": `select id, task_id, action, action2, external_id, status, polls, last_error, deadline_at, expected_end, overdue from klingwatch.report_in_flight order by id`,
	"report_outputs":   `select task, task_id, action, action2, external_id, kind, position, url, duration_seconds, finished_at, expires_at from klingwatch.report_outputs order by task`,
}

func january(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := dbtest.New(t)
	if _, err := pool.Exec(t.Context(), `update klingwatch.report_state set summarized_until = '2026-01-01'`); err != nil {
		t.Fatal(err)
	}
	runFile(t, pool, "testdata/reports/data.sql")
	return pool
}

func TestReportsAnswerAsExpected(t *testing.T) {
	t.Parallel()
	pool := january(t)
	if days := refresh(t, pool, "2026-01-03"); days != 2 {
		t.Errorf("%d days were summarized", days)
	}
	if _, err := pool.Exec(t.Context(), `alter database `+pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize()+` set timezone = 'UTC'`); err != nil {
		t.Fatal(err)
	}
	pool.Reset()
	for name, sql := range januaryReports {
		golden(t, name, table(t, pool, sql))
	}
}

// It must not matter whether a day is summarized already.
func TestSummariesAndTasksSayTheSame(t *testing.T) {
	t.Parallel()
	pool := january(t)
	answers := func() string {
		return table(t, pool, januaryReports["report_daily"]) + table(t, pool, januaryReports["report_failures"])
	}
	before := answers()
	for _, today := range []string{"2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04", "2026-03-01"} {
		refresh(t, pool, today)
		if after := answers(); after != before {
			t.Errorf("on %s:\n%s\nbefore:\n%s", today, after, before)
		}
	}
}

func TestALateVerdictChangesASummary(t *testing.T) {
	t.Parallel()
	pool := january(t)
	refresh(t, pool, "2026-01-04")
	if days := refresh(t, pool, "2026-01-04"); days != 0 {
		t.Errorf("%d days were summarized again although nothing changed", days)
	}
	if _, err := pool.Exec(t.Context(), `
		with changed as (
			update klingwatch.tasks set status = 'succeeded', status_message = '', finished_at = now() where task_id = 't1' and status = 'expired' returning id
		)
		insert into klingwatch.events (event_id, task, sequence, type, payload) select 'msg_late', id, 9, 'task.succeeded', '{}' from changed`); err != nil {
		t.Fatal(err)
	}
	if days := refresh(t, pool, "2026-01-04"); days != 1 {
		t.Errorf("%d days were summarized again", days)
	}
	var expired int
	if err := pool.QueryRow(t.Context(), `select expired from klingwatch.report_daily where day = '2026-01-01'`).Scan(&expired); err != nil || expired != 3 {
		t.Errorf("%d expired, %v", expired, err)
	}
}

// A retry makes no event of its own.
func TestARetriedTaskLeavesASummaryAndItsDurations(t *testing.T) {
	t.Parallel()
	pool := january(t)
	refresh(t, pool, "2026-01-04")
	if reopened, err := db.ReopenTasks(t.Context(), pool, []int64{10}, time.Hour); err != nil || len(reopened) != 1 {
		t.Fatal(reopened, err)
	}
	if days := refresh(t, pool, "2026-01-04"); days != 1 {
		t.Errorf("%d days were summarized again", days)
	}
	if days := refresh(t, pool, "2026-01-04"); days != 0 {
		t.Errorf("%d days are summarized each time", days)
	}
	ten, err := db.GetPollTarget(t.Context(), pool, 10, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ApplyChanges(t.Context(), pool, []db.Change{{Task: 10, Created: ten.CreatedAt, Version: ten.Version, From: db.Pending, Status: db.Succeeded, Deadline: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.events (event_id, task, sequence, type, payload) values ('msg_r', 10, 9, 'task.succeeded', '{}')`); err != nil {
		t.Fatal(err)
	}
	refresh(t, pool, "2026-01-04")
	var succeeded int
	var slowest float64
	if err := pool.QueryRow(t.Context(), `select succeeded, p99_seconds from klingwatch.report_daily where day = '2026-01-01'`).Scan(&succeeded, &slowest); err != nil || succeeded != 87 || slowest > 120 {
		t.Errorf("%d succeeded, p99 %v s, %v", succeeded, slowest, err)
	}
}

// The reports of the last day, on rows that are made now.
func TestReportsOfTheLastDay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	runFile(t, pool, "testdata/reports/recent.sql")
	golden(t, "report_webhooks", table(t, pool, `
		select endpoint, receiver, state, delivered, pending, exhausted, p50_seconds, p99_seconds, oldest_pending is not null as waits, last_error
		from klingwatch.report_webhooks order by receiver`))
	golden(t, "report_throughput", table(t, pool, `
		select count(*) as minutes, sum(inserted) as inserted, sum(succeeded) as succeeded, sum(failed) as failed, sum(canceled) as canceled,
		       sum(webhooks) as webhooks, max(inserted) as most
		from klingwatch.report_throughput`))
	var minutes time.Duration
	if err := pool.QueryRow(t.Context(), `select max(minute) - min(minute) from klingwatch.report_throughput`).Scan(&minutes); err != nil || minutes != 24*time.Hour-time.Minute {
		t.Errorf("the minutes span %s, %v", minutes, err)
	}
}

// Days that wait for their summary may have tasks that belong to the day before in the new
// zone, which nobody has noted.
func TestATimeZoneThatIsSetDuringABackfillLosesNoTask(t *testing.T) {
	t.Parallel()
	for _, zones := range [][2]string{{"UTC", "America/Los_Angeles"}, {"Pacific/Kiritimati", "Etc/GMT+12"}, {"Etc/GMT+12", "Pacific/Kiritimati"}} {
		pool := dbtest.New(t)
		do(t, pool, `select klingwatch.set_report_time_zone($1)`, zones[0])
		refreshNow(t, pool)
		do(t, pool, `
			insert into klingwatch.tasks (task_id, action, action2, status, created_at, finished_at)
			select 't' || i, 'videos', 'text2video', 'succeeded', now() - i * interval '1 hour', now()
			from generate_series(1, 40 * 24) i`)
		refreshNow(t, pool)
		do(t, pool, `select klingwatch.set_report_time_zone($1)`, zones[1])
		for refreshNow(t, pool) > 0 {
		}
		wrong := answer[int](t, pool, `
			select count(*)
			from (select klingwatch.report_day(created_at) as day, count(*) as tasks from klingwatch.tasks group by 1) as t
			full join (select day, sum(total) as tasks from klingwatch.report_daily group by 1) as r using (day)
			where t.tasks is distinct from r.tasks`)
		if wrong != 0 {
			t.Errorf("from %s to %s: %d days are wrong", zones[0], zones[1], wrong)
		}
	}
}

func TestAReportByMetadataBeginsAtAnyKindOfTime(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	do(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, metadata, created_at)
		select 't' || i, 'videos', 'text2video', '{"customer": 1}', now() - i * interval '1 day' from generate_series(0, 9) i`)
	refreshNow(t, pool)
	for _, summarized := range []bool{false, true} {
		if summarized {
			do(t, pool, `select klingwatch.summarize_metadata('customer')`)
		}
		for since, want := range map[string]int{
			`now() - interval '7 days'`: 8, `(now() - interval '7 days')::timestamp`: 8, `date_trunc('day', now())`: 1, `klingwatch.report_day() - 7`: 8,
			`null`: 10, `null::date`: 10, `'2020-01-01'`: 10,
		} {
			if got := answer[int](t, pool, `select sum(total) from klingwatch.report_by_metadata('customer', `+since+`)`); got != want {
				t.Errorf("summarized %t: since %s: %d tasks, want %d", summarized, since, got, want)
			}
		}
		if got := answer[int](t, pool, `select sum(total) from klingwatch.report_by_metadata('customer')`); got != 10 {
			t.Errorf("of all days: %d", got)
		}
	}
}

func TestAPercentileIsAFraction(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, fraction := range []float64{95, 1.01, -0.1} {
		if _, err := pool.Exec(t.Context(), `select klingwatch.percentile(array[1, 2], $1)`, fraction); db.Code(err) != "22003" {
			t.Errorf("%v: %v", fraction, err)
		}
	}
}
