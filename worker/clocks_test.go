package worker

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestClocksThatMoveAreNoticed(t *testing.T) {
	t.Parallel()
	start := time.Now()
	type reading struct {
		database, process time.Duration // since the start
		unrest            bool
		lag               time.Duration
	}
	settled := 2 * clockUnrest
	for name, readings := range map[string][]reading{
		"not compared yet":          {{0, 0, true, 0}, {5 * time.Second, 5 * time.Second, true, 0}, {settled, settled, false, 0}},
		"in step":                   {{0, 0, true, 0}, {settled, settled, false, 0}, {settled + 5*time.Second, settled + 5*time.Second, false, 0}},
		"the database's goes back":  {{0, 0, true, 0}, {settled, settled, false, 0}, {-time.Hour, settled + 5*time.Second, true, 0}},
		"goes back by little":       {{0, 0, true, 0}, {settled, settled, false, 0}, {settled + 3*time.Second, settled + 5*time.Second, true, 0}},
		"goes forward, then back":   {{0, 0, true, 0}, {time.Hour, settled, false, time.Hour - settled}, {settled + time.Second, settled + time.Second, true, 0}},
		"the process's is ahead":    {{-time.Minute, 0, true, 0}, {settled - time.Minute, settled, true, 0}},
		"the process's is behind":   {{time.Minute, 0, true, time.Minute}, {settled + time.Minute, settled, false, time.Minute}},
		"a sweep comes very late":   {{0, 0, true, 0}, {time.Hour, time.Hour, false, 0}},
		"the answer comes too late": {{0, 0, true, 0}, {settled, settled + 500*time.Millisecond, false, 0}},
	} {
		var c clocks
		for i, r := range readings {
			if unrest := c.compare(start.Add(r.database).Round(0), start.Add(r.process)); unrest != r.unrest || c.lag() != r.lag {
				t.Errorf("%s, reading %d: %v, behind by %s", name, i, unrest, c.lag())
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

// The database's clock goes back in the moment in which a job is fetched: only the row
// says that the webhook is an hour ahead.
func TestAClockThatGoesBackParksNoJobThatIsBeingWorked(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	var posts atomic.Int32
	receiver := newDeliveryLog(t, func(w http.ResponseWriter, _ *http.Request) {
		if posts.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	cfg := config(t, pool, relayURL)
	stop := startWorker(t, cfg)
	track(t, pool, "videos/text2video", receiver.URL, "quick-1")
	await(t, "the webhook has failed once, and sleeps", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_job where kind = 'deliver' and state in ('scheduled', 'available') and metadata ? 'sleep'`) == 1
	})
	stop()
	for _, sql := range []string{
		`update klingwatch.river_job set scheduled_at = now() where kind = 'deliver'`,
		`update klingwatch.deliveries set next_attempt_at = next_attempt_at + interval '1 h'`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	startWorker(t, cfg)
	await(t, "the webhook is sent again", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts = 2`) == 1
	})
}

// A process whose clock is behind the database's puts its jobs to sleep for longer: else
// they would be back at once, again and again.
func TestAClockThatIsBehindWakesNothingEarly(t *testing.T) {
	t.Parallel()
	c := &clocks{}
	c.compare(time.Now().Add(time.Hour), time.Now())
	for wait, want := range map[time.Duration]time.Duration{0: 0, 5 * time.Second: time.Hour + 5*time.Second} {
		if got := c.forRiver(wait).Round(time.Second); got != want {
			t.Errorf("%s becomes %s, want %s", wait, got, want)
		}
	}
	next := retryPolicy{c}.NextRetry(&rivertype.JobRow{})
	if wait := time.Until(next) - time.Hour; wait < 0 || wait > longestRetry {
		t.Errorf("a job that failed is tried again in %s by the database's clock", wait)
	}
}
