package ledger_test

import (
	"slices"
	"testing"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
)

// It goes on where it was, takes what still fits, and counts what it changed.
func TestFilesOfManyTasksAreAskedForStepByStep(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2, archive) select 't' || i, 'videos', 'text2video', case when i = 7 then false end from generate_series(1, 8) i`)
	run(t, pool, `update klingwatch.tasks set status = 'succeeded', finished_at = now() where id <> 8`)
	run(t, pool, `insert into klingwatch.outputs (task, kind, position, url, expires_at) select id, 'video', 0, 'https://a.example/', now() + interval '1 h' from klingwatch.tasks where id <> 6`)
	choice := db.TaskChoice{Statuses: []string{db.Succeeded}, Path: "videos", Unkept: true}
	matched := must(db.CountTasks(t.Context(), pool, choice))(t)
	if matched != 5 { // the 6th has no file, the 7th refuses, the 8th is open
		t.Errorf("%d are chosen", matched)
	}
	b := must(db.AddTaskAction(t.Context(), pool, db.BulkArchive, choice, matched, 2))(t)
	pending := func() (tasks []int64) {
		check(t, pool.QueryRow(t.Context(), `select array_agg(task order by task) from klingwatch.outputs where archive_state = 'pending'`).Scan(&tasks))
		return tasks
	}
	for _, want := range []struct {
		step    ledger.Step
		pending []int64
	}{
		{ledger.Step{Taken: 2, Enough: true, Paced: true}, []int64{1, 2}},
		{ledger.Step{Taken: 2, Enough: true, Paced: true}, []int64{1, 2, 3, 4}},
		{ledger.Step{Taken: 0, Paced: true, Finished: true}, []int64{1, 2, 3, 4}}, // the 5th expired meanwhile
	} {
		step := must(ledger.CarryOn(t.Context(), pool, b.ID, 0, deadline))(t)
		if got := pending(); step != want.step || !slices.Equal(got, want.pending) {
			t.Errorf("%+v, asked for files of %v; want %+v", step, got, want)
		}
		if step.Taken == 2 && len(want.pending) == 4 {
			run(t, pool, `update klingwatch.outputs set expires_at = now() where task = 5`)
		}
	}
	if now := must(db.ListBulks(t.Context(), pool, b.ID, 0, 1))(t)[0]; now.Done != 4 || now.Matched != 5 || now.State != db.BulkFinished {
		t.Errorf("in the end %+v", now)
	}
	if jobs := count(t, pool, `select count(*) from klingwatch.live_jobs where kind = 'archive'`); jobs != 4 {
		t.Errorf("%d jobs", jobs)
	}
}
