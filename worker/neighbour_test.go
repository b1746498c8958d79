package worker

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// errorCount counts what the log calls an error.
type errorCount struct {
	slog.Handler
	errors *atomic.Int32
}

func (h errorCount) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		h.errors.Add(1)
	}
	return h.Handler.Handle(ctx, r)
}

// Neighbours that never answer, answer slowly, or fail, each with more to get
// than anybody, delay nobody else; and their trouble is no error of ours.
func TestANoisyNeighbourDelaysNobody(t *testing.T) {
	t.Parallel()
	const noise, webhooks = 60, 40
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	for _, answer := range []http.HandlerFunc{
		func(_ http.ResponseWriter, r *http.Request) { <-either(stuck, r) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(500 * time.Millisecond): // how long it works, not how long we wait
			case <-r.Context().Done():
			}
		},
	} {
		addEndpoint(t, pool, db.NewEndpoint{URL: newDeliveryLog(t, answer).URL, Actions: []string{"videos"}})
	}
	var failures atomic.Int32
	cfg := config(t, pool, relayURL)
	cfg.Log = slog.New(errorCount{cfg.Log.Handler(), &failures})
	startWorker(t, cfg)
	track(t, pool, "videos/text2video", "", quick(noise)...)
	await(t, "the neighbours are busy", func() bool {
		return number(t, pool, `select count(*) from klingwatch.delivery_attempts`) > 5
	})
	healthy := newConsumer(t, deploymentSecret(t, pool))
	track(t, pool, "images/generations", healthy.URL, quick(webhooks)...)
	await(t, "the healthy receiver has everything", func() bool { return len(healthy.received()) == webhooks })
	await(t, "it is recorded", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where endpoint is null and state = 'delivered'`) == webhooks
	})
	if ms := number(t, pool, `select max(extract(epoch from delivered_at - created_at) * 1000)::int from klingwatch.deliveries where endpoint is null`); ms > 2000 {
		t.Errorf("the slowest took %d ms", ms)
	}
	if n := failures.Load(); n > 0 {
		t.Errorf("%d errors in the log: a receiver's failure must not wake our operator", n)
	}
}

// A person sends a webhook again while the request of its last attempt is on its
// way: what becomes of that must not undo it.
func TestARedeliveryHoldsWhileARequestIsUnderWay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	asked, release := make(chan struct{}, 10), make(chan struct{})
	var posts atomic.Int32
	receiver := newDeliveryLog(t, func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		if posts.Add(1) == 1 {
			<-release
			w.WriteHeader(500)
		}
	})
	if _, err := pool.Exec(t.Context(), `alter table klingwatch.deliveries alter tries_before set default -9`); err != nil { // the last attempt
		t.Fatal(err)
	}
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "images/generations", receiver.URL, "quick-1")
	<-asked
	if _, err := db.Redeliver(t.Context(), pool, 1); err != nil {
		t.Fatal(err)
	}
	close(release)
	await(t, "it arrives", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts = 2`) == 1
	})
}

// Somebody keeps the row of one delivery locked: the others are written, and
// nobody gets a webhook twice.
func TestALockedDeliveryHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	const webhooks = 30
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	locked := make(chan error, 1)
	unlock := make(chan struct{})
	var posts atomic.Int32
	consumer.answer = func(http.ResponseWriter, *http.Request) {
		if posts.Add(1) > 1 {
			return
		}
		held := make(chan struct{})
		go func() {
			locked <- pgx.BeginFunc(context.Background(), pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(context.Background(), `set local idle_in_transaction_session_timeout = 0`)
				if err == nil {
					_, err = tx.Exec(context.Background(), `select from klingwatch.deliveries where id = 1 for update`)
				}
				close(held)
				<-unlock
				return err
			})
		}()
		<-held
	}
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "images/generations", consumer.URL, quick(webhooks)...)
	await(t, "all others are recorded", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == webhooks-1
	})
	close(unlock)
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	await(t, "the last one is, too", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts = 1`) == webhooks
	})
	for id, events := range consumer.received() {
		if len(events) != 1 {
			t.Errorf("%s arrived %d times", id, len(events))
		}
	}
}

// enable sends everything that waits, what was in the middle of its retries, too.
func TestEnablingSendsWhatWaitedForItsNextAttempt(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	var broken atomic.Bool
	broken.Store(true)
	receiver := newDeliveryLog(t, func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(500)
		}
	})
	id := addEndpoint(t, pool, db.NewEndpoint{URL: receiver.URL})
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "images/generations", "", quick(8)...) // more than the breaker stands
	await(t, "all have failed or are held back", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'pending' and last_error is not null`) == 8 &&
			number(t, pool, `select count(*) from klingwatch.river_job where state = 'running'`) == 0
	})
	if _, err := pool.Exec(t.Context(), `update klingwatch.deliveries set next_attempt_at = now() + interval '20 h'`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.DisableEndpoint(t.Context(), pool, id, "", "by a person"); err != nil {
		t.Fatal(err)
	}
	broken.Store(false)
	if err := db.EnableEndpoint(t.Context(), pool, id); err != nil {
		t.Fatal(err)
	}
	if n, err := db.ReleaseDeliveries(t.Context(), pool, id); n != 8 || err != nil {
		t.Fatalf("released %d, %v", n, err)
	}
	await(t, "all arrive", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == 8
	})
}
