package worker

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// klingwatch.cancel takes hold once the asking transaction has committed, however long
// that stays open; nobody else's events wait for it.
func TestACancellationInATransactionOfAnApp(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	startWorker(t, config(t, pool, relayURL))
	ids := track(t, pool, "videos/text2video", consumer.URL, "never-1", "never-2")
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `set local idle_in_transaction_session_timeout = 0`); err != nil { // as in an app's own session
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select klingwatch.cancel($1::bigint)`, ids[0]); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Cancel(t.Context(), pool, ids[1], time.Hour); err != nil {
		t.Fatal(err)
	}
	await(t, "the other's event arrives", func() bool { return len(consumer.received()) == 1 })
	if db.Terminal(statusOf(t, pool, ids[0]).Status) {
		t.Error("it is canceled before the commit")
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "its event arrives", func() bool { return len(consumer.received()) == 2 })
	for _, events := range consumer.received() {
		if len(events) != 1 || events[0].Data.Status != db.Canceled || events[0].Data.EndedBy == nil || *events[0].Data.EndedBy != db.ByPerson {
			t.Errorf("%+v", events)
		}
	}
	secret, err := db.EventSecret(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	if id := webhook.EventID(secret, webhook.TaskCanceled, 1, db.DefaultRelay, "videos", "text2video", "never-1"); number(t, pool, `select count(*) from klingwatch.events where event_id = $1`, id) != 1 {
		t.Error("its webhook-id is not the one that is derived")
	}
	await(t, "nothing is left to be done", func() bool { return number(t, pool, `select count(*) from klingwatch.cancellations`) == 0 })
}

// Asked for while no service runs, and with its job lost, it is done all the same, once.
func TestACancellationWithoutAJobIsDone(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	id := track(t, pool, "videos/text2video", "", "never-1")[0]
	execute(t, pool, `select klingwatch.cancel(id) from klingwatch.tasks`)
	execute(t, pool, `delete from klingwatch.river_job`)
	startWorker(t, config(t, pool, relayURL))
	await(t, "it is done", func() bool { return number(t, pool, `select count(*) from klingwatch.cancellations`) == 0 })
	if n := number(t, pool, `select count(*) from klingwatch.events where type = 'task.canceled'`); n != 1 || statusOf(t, pool, id).Status != db.Canceled {
		t.Errorf("%d events, status %s", n, statusOf(t, pool, id).Status)
	}
}

// What a retry follows was about the task's life before.
func TestARetryEndsACancellationThatCameTooLate(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "videos/text2video", "", "t")[0]
	execute(t, pool, `select klingwatch.cancel(id) from klingwatch.tasks`)
	execute(t, pool, `update klingwatch.tasks set status = 'failed', finished_at = now()`)
	if err := ledger.CancelAsked(t.Context(), pool, id, time.Hour); err != nil || statusOf(t, pool, id).Status != db.Failed {
		t.Errorf("a task that has ended is %s, %v", statusOf(t, pool, id).Status, err)
	}
	execute(t, pool, `insert into klingwatch.cancellations (task, asked_by) select id, 'app' from klingwatch.tasks`)
	execute(t, pool, `select klingwatch.retry(id) from klingwatch.tasks`)
	if err := ledger.CancelAsked(t.Context(), pool, id, time.Hour); err != nil || statusOf(t, pool, id).Status != db.Pending {
		t.Errorf("a task that was retried is %s, %v", statusOf(t, pool, id).Status, err)
	}
}
