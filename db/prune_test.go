package db_test

import (
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/lookback"
)

// longAgo moves a task with all its times three days into the past.
func longAgo(t testing.TB, q db.Querier, ids ...int64) {
	t.Helper()
	run(t, q, `update klingwatch.tasks set created_at = created_at - interval '3 d', finished_at = finished_at - interval '3 d' where id = any ($1)`, ids)
	run(t, q, `update klingwatch.report_state set summarized_until = summarized_until - 3`)
	must(db.RefreshReports(t.Context(), q))(t)
}

func TestTasksArePrunedWhenTheirDayIsOverAndSummarized(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	const older = 48 * time.Hour
	prune := func(limit int) int { return must(db.PruneTasks(t.Context(), pool, older, limit))(t) }
	addEndpoint(t, pool, "https://off.example/")
	check(t, disable(t, pool, 1))
	old := track(t, pool, "old", "parked", "under-way", "open", "late")
	for _, id := range old[:3] {
		move(t, pool, id, db.Succeeded)
	}
	check(t, db.AddOutputs(t.Context(), pool, []db.Output{{Task: old[0], Kind: "image", URL: "https://a.example/1.png"}}, false))
	addEvent(t, pool, old[1])
	due := addEvent(t, pool, old[2])
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = now() where id = any ($1)`, due)
	move(t, pool, old[4], db.Expired)
	run(t, pool, `update klingwatch.tasks set late_checks_until = now() + interval '1 d' where id = $1`, old[4])
	move(t, pool, track(t, pool, "young")[0], db.Succeeded)
	longAgo(t, pool, old...)

	if n := prune(10); n != 0 {
		t.Errorf("%d were pruned of a day with a task that is open", n)
	}
	move(t, pool, old[3], db.Canceled)
	if n := prune(10); n != 0 {
		t.Errorf("%d were pruned of a day with a task that is still checked", n)
	}
	run(t, pool, `update klingwatch.tasks set late_checks_until = now() where id = $1`, old[4])
	if n := prune(1); n != 1 {
		t.Errorf("%d were pruned, one was wanted", n)
	}
	prune(10)
	var left []string
	for _, task := range must(db.ListTasks(t.Context(), pool, db.TaskChoice{}, lookback.Search{Limit: 9}))(t).Items {
		left = append(left, task.TaskID)
	}
	// "open" was canceled just now
	if slices.Sort(left); !slices.Equal(left, []string{"open", "under-way", "young"}) {
		t.Errorf("%q are left", left)
	}
	if n := value[int](t, pool, `select count(*) from klingwatch.outputs`) + value[int](t, pool, `select count(*) from klingwatch.events`); n != 1 {
		t.Errorf("%d outputs and events are left", n)
	}
	if total := value[int](t, pool, `select sum(total) from klingwatch.report_daily`); total != 6 {
		t.Errorf("the report counts %d tasks, not 6", total)
	}
	must(db.RefreshReports(t.Context(), pool))(t)
	if total := value[int](t, pool, `select sum(total) from klingwatch.report_daily`); total != 6 {
		t.Errorf("after another refresh the report counts %d tasks, not 6", total)
	}
}

func TestALockedTaskIsNotPruned(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "locked", "free")
	for _, id := range ids {
		move(t, pool, id, db.Succeeded)
	}
	longAgo(t, pool, ids...)
	holder := begin(t, pool)
	run(t, holder, `update klingwatch.tasks set metadata = '{"kept": true}' where id = $1`, ids[0])
	if n := must(db.PruneTasks(t.Context(), pool, time.Hour, 10))(t); n != 1 {
		t.Errorf("%d were pruned", n)
	}
	commit(t, holder)
	if got := must(db.StatusesOf(t.Context(), pool, ids))(t); len(got) != 1 || got[0].ID != ids[0] {
		t.Errorf("%+v is left", got)
	}
}

// A day that is being summarized loses no tasks until that is committed.
func TestPruningWaitsForTheReports(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	move(t, pool, id, db.Succeeded)
	longAgo(t, pool, id)
	refresh := begin(t, pool)
	must(db.RefreshReports(t.Context(), refresh))(t)
	pruned := 0
	wait := dbtest.Blocked(t, pool, func() (err error) {
		pruned, err = db.PruneTasks(t.Context(), pool, time.Hour, 10)
		return err
	})
	commit(t, refresh)
	check(t, wait())
	if total := value[int](t, pool, `select sum(total) from klingwatch.report_daily`); pruned != 1 || total != 1 {
		t.Errorf("%d were pruned, the report counts %d", pruned, total)
	}
}
