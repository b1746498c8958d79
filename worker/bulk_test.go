package worker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
)

func TestABulkRedeliveryGoesOnAfterAStop(t *testing.T) {
	t.Parallel()
	const tasks, perSecond = 60, 20
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	cfg := config(t, pool, relayURL)
	stop := startWorker(t, cfg)
	track(t, pool, "images/generations", consumer.URL, quick(tasks)...)
	await(t, "all are delivered", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == tasks
	})
	bulk, err := db.AddRedelivery(t.Context(), pool, db.DeliveryChoice{States: []string{db.DeliveryDelivered}}, tasks, perSecond)
	if err != nil || bulk.Matched != tasks {
		t.Fatalf("%+v, %v", bulk, err)
	}
	await(t, "it begins", func() bool { return number(t, pool, `select done from klingwatch.bulk_actions`) > 0 })
	stop()
	if n := number(t, pool, `select done from klingwatch.bulk_actions`); n >= tasks {
		t.Errorf("%d were redelivered within the first second", n)
	}
	startWorker(t, cfg)
	await(t, "it ends", func() bool { return number(t, pool, `select count(finished_at) from klingwatch.bulk_actions`) == 1 })
	await(t, "all arrive again", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts = 2 and tries_before = 1`) == tasks
	})
	for id, events := range consumer.received() {
		if len(events) != 2 {
			t.Errorf("%s arrived %d times", id, len(events))
		}
	}
	if n := number(t, pool, `select done from klingwatch.bulk_actions`); n != tasks {
		t.Errorf("%d were redelivered", n)
	}
}

// Many are canceled, while they are polled, and then retried: each has one event of each.
func TestManyTasksAreCanceledAndRetried(t *testing.T) {
	t.Parallel()
	const tasks = 50
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	startWorker(t, config(t, pool, relayURL))
	ids := make([]string, tasks)
	for i := range ids {
		ids[i] = fmt.Sprintf("never-%d", i)
	}
	track(t, pool, "videos/text2video", consumer.URL, ids...)
	await(t, "all are polled", func() bool { return statuses(t, pool)[db.Processing] == tasks })
	open := slices.DeleteFunc(slices.Clone(db.Statuses), db.Terminal)
	begin := func(action string, perSecond int, statuses ...string) {
		t.Helper()
		if _, err := db.AddTaskAction(t.Context(), pool, action, db.TaskChoice{Path: "videos", Statuses: statuses}, tasks, perSecond); err != nil {
			t.Fatal(err)
		}
	}
	begin(db.BulkCancel, 20, open...)
	await(t, "all are canceled", func() bool { return statuses(t, pool)[db.Canceled] == tasks })
	await(t, "all webhooks arrive", func() bool { return len(consumer.received()) == tasks })
	begin(db.BulkRetry, 0, db.Canceled)
	await(t, "all are polled again", func() bool { return statuses(t, pool)[db.Processing] == tasks })
	await(t, "both have finished", func() bool {
		return number(t, pool, `select count(*) from klingwatch.bulk_actions where finished_at is not null and done = 50`) == 2
	})
	if n := number(t, pool, `select count(*) from klingwatch.events where type = 'task.canceled'`); n != tasks {
		t.Errorf("%d events", n)
	}
}

// What has no pace goes on at once, in small steps; what has one does not exceed it.
func TestABulkActionGoesInSteps(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	execute(t, pool, `insert into klingwatch.tasks (task_id, action, action2) select 't' || i, 'videos', 'text2video' from generate_series(1, 250) i`)
	steps := func(perSecond int) (taken []int) {
		t.Helper()
		b, err := db.AddTaskAction(t.Context(), pool, db.BulkCancel, db.TaskChoice{Statuses: []string{db.Pending}}, 250, perSecond)
		if err != nil || b.Paced != (perSecond > 0) || b.PerSecond < 1 {
			t.Fatalf("%+v, %v", b, err)
		}
		for already := 0; ; {
			step, err := ledger.CarryOn(t.Context(), pool, b.ID, already, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			taken, already = append(taken, step.Taken), already+step.Taken
			if step.Finished || step.Enough {
				return taken
			}
		}
	}
	if taken := steps(120); !slices.Equal(taken, []int{100, 20}) {
		t.Errorf("120 per second: %v", taken)
	}
	if taken := steps(0); !slices.Equal(taken, []int{100, 30}) {
		t.Errorf("without a pace: %v", taken)
	}
	if got := rest(30*time.Millisecond, bulkPart); got != 15*time.Millisecond {
		t.Errorf("after 30 ms it rests for %s", got)
	}
}

// A redelivery that the version before has begun goes on under this one.
func TestARedeliveryOfTheVersionBeforeGoesOn(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "images/generations", consumer.URL, quick(3)...)
	await(t, "all are delivered", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == 3
	})
	execute(t, pool, `insert into klingwatch.redeliveries (since, until, states, per_second, last, matched) values (now() - interval '1 h', now(), '{delivered}', 50, 99, 3)`)
	await(t, "it ends", func() bool {
		return number(t, pool, `select count(*) from klingwatch.redeliveries where finished_at is not null and redelivered = 3`) == 1
	})
	execute(t, pool, `insert into klingwatch.redeliveries (since, until, states, per_second, last, matched) values (now() - interval '1 h', now(), '{delivered}', 50, 99, 3)`,
		`delete from klingwatch.river_job where kind = 'bulk'`, `select klingwatch.give_jobs('redeliver', array[2::bigint])`)
	await(t, "its job is worked", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_job where kind = 'redeliver'`) == 0
	})
}

func TestOldDeliveriesArePruned(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	cfg := config(t, pool, relayURL)
	cfg.DeliveryRetention = time.Hour
	startWorker(t, cfg)
	track(t, pool, "images/generations", consumer.URL, quick(3)...)
	await(t, "all are delivered", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == 3
	})
	for _, sql := range []string{
		`update klingwatch.deliveries set created_at = now() - interval '2 h', tries_since = now() - interval '2 h', delivered_at = now() - interval '61 min' where id <= 2`,
		`update klingwatch.deliveries set state = 'pending', next_attempt_at = null where id = 1`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := keepHouse(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if n := number(t, pool, `select sum(id) from klingwatch.deliveries`); n != 1+3 {
		t.Errorf("the sum of what is left is %d: a pending and a new one", n)
	}
	if n := number(t, pool, `select count(*) from klingwatch.delivery_attempts`); n != 2 {
		t.Errorf("%d attempts are left", n)
	}
}
