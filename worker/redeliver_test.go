package worker

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
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
	bulk, err := db.AddRedelivery(t.Context(), pool, db.NewRedelivery{States: []string{db.DeliveryDelivered}, PerSecond: perSecond})
	if err != nil || bulk.Matched != tasks {
		t.Fatalf("%+v, %v", bulk, err)
	}
	await(t, "it begins", func() bool { return number(t, pool, `select redelivered from klingwatch.redeliveries`) > 0 })
	stop()
	if n := number(t, pool, `select redelivered from klingwatch.redeliveries`); n >= tasks {
		t.Errorf("%d were redelivered within the first second", n)
	}
	startWorker(t, cfg)
	await(t, "it ends", func() bool { return number(t, pool, `select count(finished_at) from klingwatch.redeliveries`) == 1 })
	await(t, "all arrive again", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts = 2 and tries_before = 1`) == tasks
	})
	for id, events := range consumer.received() {
		if len(events) != 2 {
			t.Errorf("%s arrived %d times", id, len(events))
		}
	}
	if n := number(t, pool, `select redelivered from klingwatch.redeliveries`); n != tasks {
		t.Errorf("%d were redelivered", n)
	}
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
