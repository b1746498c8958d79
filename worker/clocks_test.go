package worker

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestClocksThatMoveAreNoticed(t *testing.T) {
	t.Parallel()
	start := time.Now()
	type reading struct {
		database, process time.Duration // since the start
		moved             bool
	}
	for name, readings := range map[string][]reading{
		"in step":                   {{0, 0, true}, {5 * time.Second, 5 * time.Second, false}, {10 * time.Second, 10 * time.Second, false}},
		"the database's goes back":  {{0, 0, true}, {-time.Hour, 5 * time.Second, true}},
		"goes back by little":       {{0, 0, true}, {3 * time.Second, 5 * time.Second, true}},
		"goes forward, then back":   {{0, 0, true}, {time.Hour, 5 * time.Second, false}, {10 * time.Second, 10 * time.Second, true}, {15 * time.Second, 15 * time.Second, false}},
		"the process's is ahead":    {{-time.Minute, 0, true}, {-55 * time.Second, 5 * time.Second, true}},
		"the process's is behind":   {{time.Minute, 0, true}, {65 * time.Second, 5 * time.Second, false}},
		"a sweep comes very late":   {{0, 0, true}, {time.Hour, time.Hour, false}},
		"the answer comes too late": {{0, 0, true}, {5 * time.Second, 5500 * time.Millisecond, false}},
	} {
		var c clocks
		for i, r := range readings {
			if moved := c.moved(start.Add(r.database).Round(0), start.Add(r.process)); moved != r.moved {
				t.Errorf("%s, reading %d: %v", name, i, moved)
			}
		}
	}
}

// The database's clock goes back by an hour: whatever waits is an hour ahead then.
func TestAClockThatGoesBackParksNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	var posts atomic.Int32
	receiver := newDeliveryLog(t, func(w http.ResponseWriter, _ *http.Request) {
		if posts.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	cfg := config(t, pool, relayURL)
	cfg.PollInterval = 3 * time.Minute // longer than a task stays here
	stop := startWorker(t, cfg)
	track(t, pool, "images/generations", "", "never-1")
	track(t, pool, "videos/text2video", receiver.URL, "quick-1")
	await(t, "the task sleeps, the webhook has failed once", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_job where state in ('scheduled', 'available') and (metadata->>'wait_seconds')::float8 > 1`) == 2 &&
			number(t, pool, `select count(*) from klingwatch.deliveries where attempts = 1`) == 1
	})
	stop()
	new := track(t, pool, "images/generations", "", "quick-2")[0]
	asked := relay.Queries("never-1")
	if _, err := pool.Exec(t.Context(), `
		with jobs as (
			update klingwatch.river_job set created_at = created_at + interval '1 h', attempted_at = attempted_at + interval '1 h', scheduled_at = scheduled_at + interval '1 h'
		)
		update klingwatch.deliveries set next_attempt_at = next_attempt_at + interval '1 h'
		where next_attempt_at is not null`); err != nil {
		t.Fatal(err)
	}
	startWorker(t, cfg)
	await(t, "the webhook is sent again after its five seconds", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts = 2`) == 1
	})
	await(t, "the new task ends", func() bool { return statusOf(t, pool, new).Status == db.Succeeded })
	if n := number(t, pool, `select count(*) from klingwatch.river_job where kind = 'poll' and state = 'scheduled' and scheduled_at < now() + interval '4 min'`); n != 1 {
		t.Error("the task that sleeps is not due in its time")
	}
	if relay.Queries("never-1") != asked {
		t.Error("the task that sleeps was asked about at once")
	}
}
