package migrations_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// A trigger for each row has COPY write row by row when it comes before the insert, and
// its condition is prepared anew by each statement.
func TestNoTriggerOfTasksIsForEachInsertedRow(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	var names string
	err := pool.QueryRow(t.Context(), `
		select coalesce(string_agg(tgname, ', '), '')
		from pg_trigger
		where tgrelid = 'klingwatch.tasks'::regclass and tgtype & 1 <> 0 and tgtype & 4 <> 0 -- for each row, on insert`).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	if names != "" {
		t.Errorf("triggers for each inserted row: %s", names)
	}
}

// A call of a function in SQL for each row takes ten times as long as its expression.
func TestTheQueueOfAnInsertedTaskIsAnExpression(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	rows, _ := pool.Query(t.Context(), `
		explain (verbose) select klingwatch.poll_queue(r.id, t.relay, t.id), klingwatch.job_key('poll', t.id)
		from klingwatch.tasks t left join klingwatch.relays r on r.name = t.relay`)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if plan := strings.Join(lines, "\n"); strings.Contains(plan, "poll_queue") || strings.Contains(plan, "job_key") {
		t.Errorf("a function is called for each row:\n%s", plan)
	}
}
