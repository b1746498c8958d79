package worker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertest"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/worker/poll"
)

// workOnce runs one poll job of a task outside of a queue; the poller drains
// after its first poll.
func workOnce(t *testing.T, cfg Config, task int64) *rivertest.WorkResult {
	t.Helper()
	var p *poll.Relays
	cfg.PollHook = func(int64, time.Time, time.Time) { p.Drain() }
	p = newRelays(context.Background(), cfg)
	if err := newRelayBook(cfg).refresh(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	p.Start()
	wg.Go(func() { p.Run(ctx) })
	defer func() { cancel(); wg.Wait(); p.Close() }()

	worker := rivertest.NewWorker(t, riverpgxv5.New(cfg.Pool), &river.Config{Schema: schema},
		newPollWorker(cfg, p, &clocks{}))
	var result *rivertest.WorkResult
	err := pgx.BeginFunc(t.Context(), cfg.Pool, func(tx pgx.Tx) (err error) {
		result, err = worker.Work(t.Context(), t, tx, pollArgs{ID: task}, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestARunningTaskSnoozesItsJob(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	id := track(t, pool, "videos/text2video", "", "never-1")[0]
	result := workOnce(t, config(t, pool, relayURL), id)
	if result.EventKind != river.EventKindJobSnoozed || relay.Queries("never-1") != 1 {
		t.Errorf("%s after %d questions", result.EventKind, relay.Queries("never-1"))
	}
	if m := recall(result.Job.Metadata); m.Polls != 1 {
		t.Errorf("the job remembers %+v", m)
	}
}

func TestAFinishedTaskIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	cfg := config(t, pool, relayURL)
	id := track(t, pool, "videos/text2video", "", "quick-1")[0]
	if result := workOnce(t, cfg, id); result.EventKind != river.EventKindJobCompleted || statusOf(t, pool, id).Status != db.Succeeded {
		t.Fatalf("%s, %s", result.EventKind, statusOf(t, pool, id).Status)
	}
	if result := workOnce(t, cfg, id); result.EventKind != river.EventKindJobCompleted || relay.Queries("quick-1") != 1 {
		t.Errorf("%s after %d questions", result.EventKind, relay.Queries("quick-1"))
	}
	if n := number(t, pool, `select count(*) from klingwatch.events`); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestADeletedTaskEndsItsJob(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	if result := workOnce(t, config(t, pool, relayURL), 4711); result.EventKind != river.EventKindJobCompleted {
		t.Error(result.EventKind)
	}
}
