package db_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
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
func bulk(t testing.TB, q db.Querier, perSecond int) db.Redelivery {
	t.Helper()
	return must(db.AddRedelivery(t.Context(), q, db.NewRedelivery{States: []string{db.DeliveryDelivered}, PerSecond: perSecond}))(t)
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
	run(t, pool, `update klingwatch.deliveries set state = 'exhausted' where id = $1`, ids[4])
	ago := func(hours int) time.Time { return time.Now().Add(time.Duration(-hours) * time.Hour) }
	both := []string{db.DeliveryDelivered, db.DeliveryExhausted}
	for name, c := range map[string]struct {
		choice db.NewRedelivery
		want   int64
	}{
		"everything":      {db.NewRedelivery{States: both, PerSecond: 1}, 6},
		"delivered":       {db.NewRedelivery{States: both[:1], PerSecond: 500}, 5},
		"of one receiver": {db.NewRedelivery{Endpoint: &second, States: both, PerSecond: 1}, 3},
		"since":           {db.NewRedelivery{Since: ago(2), States: both, PerSecond: 1}, 4},
		"until":           {db.NewRedelivery{Until: new(ago(2)), States: both, PerSecond: 1}, 2},
		"in between":      {db.NewRedelivery{Since: ago(2), Until: new(time.Now().Add(-time.Minute)), States: both, PerSecond: 1}, 2},
	} {
		got := must(db.AddRedelivery(t.Context(), pool, c.choice))(t)
		if got.Matched != c.want || got.PerSecond != c.choice.PerSecond || !slices.Equal(got.States, c.choice.States) || got.FinishedAt != nil || got.Redelivered != 0 || len(jobsOf(t, pool, "redeliver", got.ID)) != 1 {
			t.Errorf("%s: %+v with the jobs %+v", name, got, jobsOf(t, pool, "redeliver", got.ID))
		}
		before := value[int](t, pool, `select count(*) from klingwatch.deliveries where attempts = tries_before and attempts > 0`)
		tx := begin(t, pool) // undone: the next one chooses from the same
		for done := false; !done; {
			step := must(db.LockRedelivery(t.Context(), tx, got.ID))(t)
			done = must(db.RedeliverSome(t.Context(), tx, got.ID, step))(t)
		}
		after := value[int](t, tx, `select count(*) from klingwatch.deliveries where attempts = tries_before and attempts > 0`)
		if int64(after-before) != c.want {
			t.Errorf("%s: %d were made due, %d were wanted", name, after-before, c.want)
		}
		if list := must(db.ListRedeliveries(t.Context(), tx, got.ID, 9))(t); len(list) != 1 || list[0].Redelivered != c.want || list[0].FinishedAt == nil {
			t.Errorf("%s: in the end %+v", name, list)
		}
		check(t, tx.Rollback(t.Context()))
	}
	if list := must(db.ListRedeliveries(t.Context(), pool, 0, 2))(t); len(list) != 2 || list[0].ID != 6 || list[1].ID != 5 {
		t.Errorf("the newest two: %+v", list)
	}
	for name, refused := range map[string]db.NewRedelivery{
		"pending":    {States: []string{db.DeliveryPending}, PerSecond: 1},
		"no state":   {States: []string{}, PerSecond: 1},
		"too fast":   {States: both, PerSecond: 501},
		"too slow":   {States: both},
		"no such id": {Endpoint: new(int64(12345)), States: both, PerSecond: 1},
	} {
		if _, err := db.AddRedelivery(t.Context(), pool, refused); !db.RefusedValue(err) {
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
		step := must(db.LockRedelivery(t.Context(), pool, b.ID))(t)
		done := must(db.RedeliverSome(t.Context(), pool, b.ID, step))(t)
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
	if _, err := db.LockRedelivery(t.Context(), pool, b.ID); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("after the end: %v", err)
	}
	if err := db.StopRedelivery(t.Context(), pool, b.ID); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("stopping it after the end: %v", err)
	}
	if done, err := db.RedeliverSome(t.Context(), pool, 12345, db.RedeliveryStep{States: []string{db.DeliveryDelivered}, PerSecond: 1}); err != nil || !done {
		t.Errorf("one that is not there: done %v, %v", done, err)
	}
}

func TestABulkRedeliveryToADisabledEndpointWaitsWithoutJobs(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 2)
	deliverAll(t, pool, ids)
	check(t, disable(t, pool, 1))
	b := bulk(t, pool, 50)
	step := must(db.LockRedelivery(t.Context(), pool, b.ID))(t)
	if !must(db.RedeliverSome(t.Context(), pool, b.ID, step))(t) {
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
	step := must(db.LockRedelivery(t.Context(), first, b.ID))(t)
	var next db.RedeliveryStep
	wait := dbtest.Blocked(t, pool, func() (err error) {
		next, err = db.LockRedelivery(t.Context(), second, b.ID)
		return err
	})
	if must(db.RedeliverSome(t.Context(), first, b.ID, step))(t) {
		t.Error("done after two of three")
	}
	commit(t, first)
	check(t, wait())
	if step.Position != 0 || next.Position != ids[1] {
		t.Errorf("the first began at %d, the second at %d", step.Position, next.Position)
	}
	if !must(db.RedeliverSome(t.Context(), second, b.ID, next))(t) {
		t.Error("not done after three of three")
	}
	commit(t, second)
	if got := must(db.ListRedeliveries(t.Context(), pool, b.ID, 1))(t)[0]; got.Redelivered != 3 || got.FinishedAt == nil {
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
	b := bulk(t, pool, 1)
	worker := begin(t, pool)
	step := must(db.LockRedelivery(t.Context(), worker, b.ID))(t)
	wait := dbtest.Blocked(t, pool, func() error { return db.StopRedelivery(t.Context(), pool, b.ID) })
	must(db.RedeliverSome(t.Context(), worker, b.ID, step))(t)
	commit(t, worker)
	check(t, wait())
	if got := must(db.ListRedeliveries(t.Context(), pool, b.ID, 1))(t)[0]; got.Redelivered != 1 || got.FinishedAt == nil {
		t.Errorf("%+v", got)
	}
	if _, err := db.LockRedelivery(t.Context(), pool, b.ID); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the next step: %v", err)
	}
}
