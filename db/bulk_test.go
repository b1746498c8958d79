package db_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/lookback"
)

// finishJobs ends the jobs of all deliveries, as if they had been worked.
func finishJobs(t testing.TB, q db.Querier) {
	t.Helper()
	run(t, q, `update klingwatch.river_job set state = 'completed', finalized_at = now() where kind = 'deliver'`)
}

func TestADeliveryIsSentAgainWhateverItsState(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 4)
	run(t, pool, `update klingwatch.deliveries set attempts = 3, last_error = 'timeout', held_since = now(), tries_since = now() - interval '1 h', delivered_at = now(), next_attempt_at = null`)
	for i, state := range db.DeliveryStates {
		run(t, pool, `update klingwatch.deliveries set state = $1 where id = $2`, state, ids[i])
	}
	finishJobs(t, pool)
	check(t, db.ChangeEndpoint(t.Context(), pool, 1, db.EndpointChange{URL: new("https://new.example/")}))
	for i, state := range db.DeliveryStates {
		got := must(db.Redeliver(t.Context(), pool, ids[i]))(t)
		target, d, jobs := deliveryTarget(t, pool, ids[i]), delivery(t, pool, ids[i]), jobsOf(t, pool, "deliver", ids[i])
		if got.URL != "https://new.example/" || *got.Endpoint != 1 || got.Waits || got.Jobs != 1 {
			t.Errorf("%s became %+v", state, got)
		}
		if d.State != db.DeliveryPending || d.URL != got.URL || d.Attempts != 3 || d.LastError != nil || d.DeliveredAt != nil || target.Tries != 0 || target.Held != 0 ||
			*target.Wait > 0 || !near(time.Since(target.Since), 0) || len(jobs) != 1 || jobs[0].State != "available" {
			t.Errorf("%s became %+v, %+v with the jobs %+v", state, d, target, jobs)
		}
	}
	// one whose job sleeps until the next attempt
	run(t, pool, `update klingwatch.river_job set state = 'scheduled', scheduled_at = now() + interval '1 h' where kind = 'deliver' and state = 'available'`)
	if got := must(db.Redeliver(t.Context(), pool, ids[0]))(t); got.Jobs != 0 || jobsOf(t, pool, "deliver", ids[0])[0].State != "available" {
		t.Errorf("with a job that sleeps: %+v, jobs %+v", got, jobsOf(t, pool, "deliver", ids[0]))
	}
	check(t, disable(t, pool, 1))
	finishJobs(t, pool)
	if got := must(db.Redeliver(t.Context(), pool, ids[0]))(t); !got.Waits || got.Jobs != 0 || deliveryTarget(t, pool, ids[0]).Wait != nil || len(jobsOf(t, pool, "deliver", ids[0])) != 0 {
		t.Errorf("of a disabled endpoint: %+v, jobs %+v", got, jobsOf(t, pool, "deliver", ids[0]))
	}
	if _, err := db.Redeliver(t.Context(), pool, 12345); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown delivery: %v", err)
	}
}

// bulk begins a redelivery of delivered webhooks.
func bulk(t testing.TB, q db.Querier, perSecond int) db.Bulk {
	t.Helper()
	return must(db.AddRedelivery(t.Context(), q, db.DeliveryChoice{States: []string{db.DeliveryDelivered}}, 0, perSecond))(t)
}

// redeliverNext does a second's worth of a bulk redelivery that was locked.
func redeliverNext(t testing.TB, q db.Querier, b db.Bulk) (finished bool) {
	t.Helper()
	return must(db.RecordProgress(t.Context(), q, b, must(db.RedeliverNext(t.Context(), q, b, b.PerSecond))(t), b.PerSecond))(t)
}

// deliverAll writes that deliveries arrived and that their jobs have ended.
func deliverAll(t testing.TB, q db.Querier, ids []int64) {
	t.Helper()
	for _, id := range ids {
		record(t, q, answered(deliveryTarget(t, q, id), 200))
	}
	finishJobs(t, q)
}

func TestABulkRedeliveryChoosesByReceiverTimeAndState(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	addEndpoint(t, pool, "https://a.example/hook")
	second := addEndpoint(t, pool, "https://b.example/")
	ids := deliveries(t, pool, 4) // two of each task
	deliverAll(t, pool, ids[:6])
	run(t, pool, `update klingwatch.deliveries set created_at = now() - interval '3 h' where id = any ($1)`, ids[:2])
	run(t, pool, `update klingwatch.deliveries set created_at = now() - interval '1 h' where id = any ($1)`, ids[2:4])
	run(t, pool, `update klingwatch.deliveries set state = 'exhausted', last_error = 'connection_refused: nobody listens' where id = $1`, ids[4])
	run(t, pool, `update klingwatch.tasks set metadata = '{"user": 7}' where id = (select e.task from klingwatch.deliveries d join klingwatch.events e on e.id = d.event where d.id = $1)`, ids[0])
	ago := func(hours int) time.Time { return time.Now().Add(time.Duration(-hours) * time.Hour) }
	both := []string{db.DeliveryDelivered, db.DeliveryExhausted}
	for name, c := range map[string]struct {
		choice db.DeliveryChoice
		want   int64
	}{
		"everything":            {db.DeliveryChoice{States: both}, 6},
		"delivered":             {db.DeliveryChoice{States: both[:1]}, 5},
		"of one receiver":       {db.DeliveryChoice{Endpoint: &second, States: both}, 3},
		"since":                 {db.DeliveryChoice{Since: ago(2), States: both}, 4},
		"until":                 {db.DeliveryChoice{Until: ago(2), States: both}, 2},
		"in between":            {db.DeliveryChoice{Since: ago(2), Until: time.Now().Add(-time.Minute), States: both}, 2},
		"with an error":         {db.DeliveryChoice{Error: "Refused", States: both}, 1},
		"of tasks":              {db.DeliveryChoice{Tasks: db.TaskChoice{Metadata: map[string]string{"user": "7"}}, States: both}, 2},
		"of tasks and an error": {db.DeliveryChoice{Tasks: db.TaskChoice{Path: "nobody"}, Error: "refused", States: both}, 0},
	} {
		if n := must(db.CountDeliveries(t.Context(), pool, c.choice))(t); n != c.want {
			t.Errorf("%s: %d are counted, want %d", name, n, c.want)
		}
		got := must(db.AddRedelivery(t.Context(), pool, c.choice, c.want, 1))(t)
		if got.Action != db.BulkRedeliver || got.Matched != c.want || got.PerSecond != 1 || !slices.Equal(got.States, c.choice.States) || got.FinishedAt != nil || got.Done != 0 || len(jobsOf(t, pool, "bulk", got.ID)) != 1 {
			t.Errorf("%s: %+v with the jobs %+v", name, got, jobsOf(t, pool, "bulk", got.ID))
		}
		before := value[int](t, pool, `select count(*) from klingwatch.deliveries where attempts = tries_before and attempts > 0`)
		tx := begin(t, pool) // undone: the next one chooses from the same
		for done := false; !done; {
			done = redeliverNext(t, tx, must(db.LockBulk(t.Context(), tx, got.ID))(t))
		}
		after := value[int](t, tx, `select count(*) from klingwatch.deliveries where attempts = tries_before and attempts > 0`)
		if int64(after-before) != c.want {
			t.Errorf("%s: %d were made due, %d were wanted", name, after-before, c.want)
		}
		if list := must(db.ListBulks(t.Context(), tx, got.ID, 0, 9))(t); len(list) != 1 || list[0].Done != c.want || list[0].FinishedAt == nil {
			t.Errorf("%s: in the end %+v", name, list)
		}
		check(t, tx.Rollback(t.Context()))
	}
	if list := must(db.ListBulks(t.Context(), pool, 0, 0, 2))(t); len(list) != 2 || list[0].ID != 9 || list[1].ID != 8 {
		t.Errorf("the newest two: %+v", list)
	}
	for name, refused := range map[string]struct {
		choice    db.DeliveryChoice
		perSecond int
	}{
		"pending":    {db.DeliveryChoice{States: []string{db.DeliveryPending}}, 1},
		"no state":   {db.DeliveryChoice{}, 1},
		"too fast":   {db.DeliveryChoice{States: both}, 501},
		"too slow":   {db.DeliveryChoice{States: both}, 0},
		"no such id": {db.DeliveryChoice{Endpoint: new(int64(12345)), States: both}, 1},
	} {
		if _, err := db.AddRedelivery(t.Context(), pool, refused.choice, 0, refused.perSecond); !db.RefusedValue(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABulkRedeliveryGoesOnStepByStep(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 5)
	deliverAll(t, pool, ids)
	b := bulk(t, pool, 2)
	later := deliveries(t, pool, 1) // after it began: not chosen
	deliverAll(t, pool, later)
	for i, want := range []struct {
		due  []int64
		done bool
	}{{ids[:2], false}, {ids[2:4], false}, {ids[4:], true}} {
		done := redeliverNext(t, pool, must(db.LockBulk(t.Context(), pool, b.ID))(t))
		var due []int64
		for _, id := range ids {
			if jobs := jobsOf(t, pool, "deliver", id); len(jobs) == 1 && delivery(t, pool, id).State == db.DeliveryPending {
				due = append(due, id)
			}
		}
		if !slices.Equal(due, want.due) || done != want.done {
			t.Errorf("step %d: %v became due, done %v; want %+v", i, due, done, want)
		}
		deliverAll(t, pool, due)
	}
	if _, err := db.LockBulk(t.Context(), pool, b.ID); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("after the end: %v", err)
	}
	if err := db.StopBulk(t.Context(), pool, b.ID); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("stopping it after the end: %v", err)
	}
}

func TestABulkRedeliveryToADisabledEndpointWaitsWithoutJobs(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 2)
	deliverAll(t, pool, ids)
	check(t, disable(t, pool, 1))
	b := bulk(t, pool, 50)
	if !redeliverNext(t, pool, must(db.LockBulk(t.Context(), pool, b.ID))(t)) {
		t.Error("two of fifty, and there are more")
	}
	for _, id := range ids {
		if d := delivery(t, pool, id); d.State != db.DeliveryPending || d.NextAttemptAt != nil || len(jobsOf(t, pool, "deliver", id)) != 0 {
			t.Errorf("%+v with the jobs %+v", d, jobsOf(t, pool, "deliver", id))
		}
	}
}

// A job was rescued while its first worker still runs: they take turns.
func TestTwoWorkersOfOneRedeliveryTakeTurns(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 3)
	deliverAll(t, pool, ids)
	b := bulk(t, pool, 2)
	first, second := begin(t, pool), begin(t, pool)
	step := must(db.LockBulk(t.Context(), first, b.ID))(t)
	var next db.Bulk
	wait := dbtest.Blocked(t, pool, func() (err error) {
		next, err = db.LockBulk(t.Context(), second, b.ID)
		return err
	})
	if redeliverNext(t, first, step) {
		t.Error("done after two of three")
	}
	commit(t, first)
	check(t, wait())
	if step.Position != 0 || next.Position != ids[1] {
		t.Errorf("the first began at %d, the second at %d", step.Position, next.Position)
	}
	if !redeliverNext(t, second, next) {
		t.Error("not done after three of three")
	}
	commit(t, second)
	if got := must(db.ListBulks(t.Context(), pool, b.ID, 0, 1))(t)[0]; got.Done != 3 || got.FinishedAt == nil || got.State != db.BulkFinished {
		t.Errorf("in the end %+v", got)
	}
	for _, id := range ids {
		if d := delivery(t, pool, id); d.State != db.DeliveryPending {
			t.Errorf("%+v", d)
		}
	}
}

func TestAStoppedRedeliveryEndsAfterTheStepUnderWay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	deliverAll(t, pool, deliveries(t, pool, 3))
	b := must(db.AddRedelivery(t.Context(), pool, db.DeliveryChoice{States: []string{db.DeliveryDelivered}}, 3, 1))(t)
	worker := begin(t, pool)
	step := must(db.LockBulk(t.Context(), worker, b.ID))(t)
	wait := dbtest.Blocked(t, pool, func() error { return db.StopBulk(t.Context(), pool, b.ID) })
	redeliverNext(t, worker, step)
	commit(t, worker)
	check(t, wait())
	if got := must(db.ListBulks(t.Context(), pool, b.ID, 0, 1))(t)[0]; got.Done != 1 || got.FinishedAt == nil || got.State != db.BulkStopped {
		t.Errorf("%+v", got)
	}
	if _, err := db.LockBulk(t.Context(), pool, b.ID); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the next step: %v", err)
	}
}

// What was chosen may have ended by itself before its turn came: that is no stop.
func TestABulkActionThatFindsLessHasFinished(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	track(t, pool, "a", "b")
	b := must(db.AddTaskAction(t.Context(), pool, db.BulkCancel, db.TaskChoice{Statuses: []string{db.Pending}}, 2, 5))(t)
	if b.State != db.BulkUnderWay || b.Since != nil {
		t.Errorf("it begins as %+v", b)
	}
	if finished, err := db.RecordProgress(t.Context(), pool, b, db.Taken{Chosen: []int64{1}, Changed: []int64{1}}, 5); !finished || err != nil {
		t.Errorf("finished %v, %v", finished, err)
	}
	if got := must(db.ListBulks(t.Context(), pool, b.ID, 0, 1))(t)[0]; got.State != db.BulkFinished || got.Done != 1 {
		t.Errorf("%+v", got)
	}
}

func TestABulkActionChoosesTasks(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	run(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, external_id, metadata, status, status_message, last_error, created_at, finished_at, deadline_at)
		values ('a', 'videos', 'text2video', 'order-1', '{"user": 7, "plan": "pro"}', 'failed', 'Quota of user 7 exceeded', null, now() - interval '3 h', now(), null),
		       ('b', 'videos', 'text2video', 'order-2', '{"user": 7}', 'pending', '', null, now() - interval '2 h', null, null),
		       ('c', 'images', 'generations', null, '{}', 'processing', '', 'timeout: no answer', now(), null, now() + interval '1 h'),
		       ('d', 'images', 'generations', null, '{"user": "7"}', 'processing', '', null, now() - interval '1 min', null, now() - interval '1 h')`)
	run(t, pool, `update klingwatch.tasks set app = 'shop' where task_id in ('b', 'c')`)
	for name, c := range map[string]struct {
		choice db.TaskChoice
		want   []int64
	}{
		"all":                         {db.TaskChoice{}, []int64{1, 2, 3, 4}},
		"by statuses":                 {db.TaskChoice{Statuses: []string{db.Failed, db.Pending}}, []int64{1, 2}},
		"by action":                   {db.TaskChoice{Path: "videos"}, []int64{1, 2}},
		"by relay":                    {db.TaskChoice{Relay: "second"}, nil},
		"by app":                      {db.TaskChoice{App: "shop"}, []int64{2, 3}},
		"by external id":              {db.TaskChoice{ExternalID: "order-2"}, []int64{2}},
		"by metadata, as text":        {db.TaskChoice{Metadata: map[string]string{"user": "7"}}, []int64{1, 2, 4}},
		"by all of several":           {db.TaskChoice{Metadata: map[string]string{"user": "7", "plan": "pro"}}, []int64{1}},
		"by the reason":               {db.TaskChoice{Error: "quota"}, []int64{1}},
		"by the last error":           {db.TaskChoice{Error: "timeout"}, []int64{3}},
		"not asked, or not ended yet": {db.TaskChoice{Overdue: true}, []int64{2, 4}},
		"by time":                     {db.TaskChoice{Since: time.Now().Add(-150 * time.Minute), Until: time.Now().Add(-time.Hour)}, []int64{2}},
	} {
		if n := must(db.CountTasks(t.Context(), pool, c.choice))(t); n != int64(len(c.want)) {
			t.Errorf("%s: %d are counted", name, n)
		}
		listed := idsOf(must(db.ListTasks(t.Context(), pool, c.choice, lookback.Search{Limit: 9}))(t).Items)
		slices.Sort(listed)
		if !slices.Equal(listed, c.want) {
			t.Errorf("%s: %v are listed, want %v", name, listed, c.want)
		}
		if c.choice.Statuses == nil {
			c.choice.Statuses = slices.Clone(db.Statuses)
		}
		c.choice.Statuses = slices.DeleteFunc(c.choice.Statuses, db.Terminal)
		b := must(db.AddTaskAction(t.Context(), pool, db.BulkCancel, c.choice, 0, 500))(t)
		want := slices.DeleteFunc(slices.Clone(c.want), func(id int64) bool { return id == 1 }) // it has ended
		if name == "by time" {
			b.Since, b.Until = &c.choice.Since, c.choice.Until
		}
		if taken := must(db.LockNextTasks(t.Context(), pool, b, b.PerSecond))(t); !slices.Equal(taken.Chosen, want) && len(want)+len(taken.Chosen) > 0 {
			t.Errorf("%s: %v would be canceled, want %v", name, taken.Chosen, want)
		}
	}
	for name, status := range map[string]string{db.BulkCancel: db.Failed, db.BulkRetry: db.Pending, "drop": db.Pending} {
		if _, err := db.AddTaskAction(t.Context(), pool, name, db.TaskChoice{Statuses: []string{status}}, 0, 1); !db.RefusedValue(err) {
			t.Errorf("%s with %s: %v", name, status, err)
		}
	}
}

// A task that ends in the moment when it is chosen is left alone, and the action goes on.
func TestATaskThatChangesMeanwhileIsChosenButNotChanged(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2) select 't' || i, 'videos', 'text2video' from generate_series(1, 3) i`)
	b := must(db.AddTaskAction(t.Context(), pool, db.BulkCancel, db.TaskChoice{Statuses: []string{db.Pending}}, 3, 3))(t)
	polling, canceling := begin(t, pool), begin(t, pool)
	run(t, polling, `update klingwatch.tasks set status = 'succeeded', finished_at = now() where id = 2`)
	var taken db.Taken
	wait := dbtest.Blocked(t, pool, func() (err error) {
		taken, err = db.LockNextTasks(t.Context(), canceling, b, b.PerSecond)
		return err
	})
	commit(t, polling)
	check(t, wait())
	slices.Sort(taken.Changed)
	if !slices.Equal(taken.Chosen, []int64{1, 2, 3}) || !slices.Equal(taken.Changed, []int64{1, 3}) {
		t.Errorf("%+v", taken)
	}
	if must(db.RecordProgress(t.Context(), canceling, b, taken, b.PerSecond))(t) {
		t.Error("it ends although there may be more")
	}
}
