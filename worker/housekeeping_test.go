package worker

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestOldTasksAreDeletedAndStayInTheReports(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	cfg := config(t, pool, relayURL)
	cfg.Retention = 240 * time.Hour
	// 1,200 old ones: more than a batch; one with a webhook that is still to arrive, one with late checks to come, one that runs
	for _, sql := range []string{
		`insert into klingwatch.tasks (task_id, action, action2, callback_url, status, created_at, finished_at)
		 select 't' || i, 'videos', 'text2video', 'https://app.example/hook', 'succeeded', now() - interval '12 days', now() - interval '11 days'
		 from generate_series(1, 1200) i`,
		`insert into klingwatch.events (event_id, task, sequence, type, payload) select 'msg_' || id, id, 1, 'task.succeeded', '{}' from klingwatch.tasks`,
		`insert into klingwatch.deliveries (event, url, state) select id, 'https://app.example/hook', case when task = 7 then 'pending' else 'delivered' end from klingwatch.events`,
		`insert into klingwatch.delivery_attempts (delivery, attempt, status_code, finished_at) select id, 1, 200, now() from klingwatch.deliveries`,
		`insert into klingwatch.outputs (task, kind, position, url) select id, 'video', 0, 'https://cdn.example/' from klingwatch.tasks`,
		`update klingwatch.tasks set status = 'expired', late_checks_until = now() + interval '1 h' where id = 8`,
		`update klingwatch.tasks set status = 'processing', finished_at = null, created_at = now() - interval '10 days' - interval '1 h' where id = 9`,
		`update klingwatch.tasks set created_at = now() - interval '10 days' - interval '1 h' where id in (8, 10)`,
		`update klingwatch.tasks set finished_at = now() - interval '9 days' where id = 10`,
		`insert into klingwatch.tasks (task_id, action, action2, status, created_at, finished_at) values ('new', 'videos', 'text2video', 'succeeded', now(), now())`,
		`update klingwatch.report_state set summarized_until = klingwatch.utc_day(now() - interval '12 days')`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	total := func() int { return number(t, pool, `select sum(total) from klingwatch.report_daily`) }
	before := total()
	if err := keepHouse(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if n := number(t, pool, `select count(*) from klingwatch.tasks`); n != 5 {
		t.Errorf("%d tasks are left", n)
	}
	if n := number(t, pool, `select (select count(*) from klingwatch.outputs) + (select count(*) from klingwatch.events)
		+ (select count(*) from klingwatch.deliveries) + (select count(*) from klingwatch.delivery_attempts)`); n != 4*4 {
		t.Errorf("%d rows hang on them", n)
	}
	// a task of a day that lost others ends: the day's summary stays
	nine, err := db.GetPollTarget(t.Context(), pool, 9, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ApplyChanges(t.Context(), pool, []db.Change{{Task: 9, Created: nine.CreatedAt, Version: nine.Version, From: db.Processing, Status: db.Canceled, Deadline: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.events (event_id, task, sequence, type, payload) values ('msg_x', 9, 2, 'task.canceled', '{}')`); err != nil {
		t.Fatal(err)
	}
	if err := keepHouse(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if after := total(); after != before || before != 1201 {
		t.Errorf("the reports tell of %d tasks, %d before", after, before)
	}
}
