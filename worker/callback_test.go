package worker

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// callInterval is a poll interval in which nothing would happen in the time of a test.
const callInterval = 10 * time.Minute

// called tells of callbacks for tasks.
func called(t *testing.T, cfg Config, tasks ...int64) {
	t.Helper()
	if err := db.CallTasks(t.Context(), cfg.Pool, tasks, cfg.PollInterval); err != nil {
		t.Fatal(err)
	}
}

// Whichever process has the tasks, and whether they wait there or their jobs sleep, a
// callback has each asked about at once, with one poll.
func TestACallbackReachesATaskWhereverItIs(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	var ahead atomic.Int64 // the relay's clock
	relay, relayURL := simulator(t, func(c *klingsim.Config) {
		c.Lifetime, c.Now = time.Minute, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	cfg := config(t, pool, relayURL)
	cfg.PollInterval = callInterval
	startWorker(t, cfg)
	startWorker(t, cfg)
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = fmt.Sprintf("ok-%d", i)
	}
	tasks := track(t, pool, "videos/text2video", "", ids...)
	await(t, "all have been asked about", func() bool { return statuses(t, pool)[db.Submitted] == len(ids) })
	await(t, "all jobs sleep", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_job where kind = 'poll' and state = 'scheduled'`) == len(ids)
	})
	ahead.Store(int64(12 * time.Second)) // they are processed by now
	for _, task := range tasks {
		called(t, cfg, task)
	}
	await(t, "all sleeping ones are asked about again", func() bool { return relay.Requests() == 2*len(ids) })
	// now that a callback has woken them they are here again, or asleep: a second one must wait
	for range 5 {
		called(t, cfg, tasks...)
	}
	sleep(t.Context(), 500*time.Millisecond) // in which nothing may happen
	if asked := relay.Requests(); asked != 2*len(ids) {
		t.Errorf("repeated callbacks within the interval cost %d polls", asked-2*len(ids))
	}
}

// A task that is resident, since its next poll is near.
func TestACallbackReachesAResidentTask(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	var ahead atomic.Int64
	relay, relayURL := simulator(t, func(c *klingsim.Config) {
		c.Lifetime, c.Now = time.Minute, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	cfg := config(t, pool, relayURL)
	cfg.PollInterval = time.Minute
	startWorker(t, cfg)
	startWorker(t, cfg)
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = fmt.Sprintf("ok-%d", i)
	}
	tasks := track(t, pool, "videos/text2video", "", ids...)
	await(t, "all have been asked about", func() bool { return statuses(t, pool)[db.Submitted] == len(ids) })
	ahead.Store(int64(time.Hour))
	begun := time.Now()
	called(t, cfg, tasks...)
	await(t, "all have ended", func() bool { return statuses(t, pool)[db.Succeeded] == len(ids) })
	if passed := time.Since(begun); passed > cfg.PollInterval/2 {
		t.Errorf("it took %s", passed)
	}
	if asked := relay.Requests(); asked != 2*len(ids) {
		t.Errorf("%d polls of %d tasks", asked, len(ids))
	}
	called(t, cfg, tasks...) // a callback gives no job
	await(t, "their jobs end", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_job where kind = 'poll'`) == 0
	})
}
