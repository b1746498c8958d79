package worker

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// Another process has nearly all tasks and needs a tenth of the rate: one that joins, and
// has none, asks about new tasks at once all the same.
func TestAProcessThatJoinsAsksAboutNewTasksAtOnce(t *testing.T) {
	t.Parallel()
	const tasks = 20
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	cfg := config(t, pool, relayURL)
	cfg.PollRate, cfg.PollInterval = 100, time.Second
	anotherProcess(t, cfg, 100_000, 0.1)
	startWorker(t, cfg)
	await(t, "it works the queues of tasks", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_queue where name like 'poll-%'`) == defaultQueues
	})
	begun := time.Now()
	track(t, pool, "images/generations", "", quick(tasks)...)
	await(t, "all are asked about", func() bool { return statuses(t, pool)[db.Succeeded] == tasks })
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("they waited %s: that is the share of the tasks, which is next to nothing", took)
	}
}

// anotherProcess has tasks, and needs a part of the rate, for as long as the test runs.
func anotherProcess(t *testing.T, cfg Config, tasks int, needs float64) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), cfg.Pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	slot, err := db.ClaimInstance(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `set idle_session_timeout = 0`); err != nil {
		t.Fatal(err)
	}
	asks := newRelayBook(cfg).asks()
	if _, _, err := db.ShareWork(t.Context(), conn, slot, db.Work{Tasks: tasks, Needs: needs, Asks: asks}); err != nil {
		t.Fatal(err)
	}
}
