package db_test

import (
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestReportsAreRefreshedByOneProcess(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b")
	run(t, pool, `update klingwatch.tasks set created_at = created_at - interval '3 d' where id = $1`, ids[0])
	run(t, pool, `update klingwatch.report_state set summarized_until = summarized_until - 3`)
	first := begin(t, pool)
	mine := must(db.RefreshReports(t.Context(), first))(t)
	theirs := must(db.RefreshReports(t.Context(), pool))(t) // does not wait for the first
	commit(t, first)
	if again := must(db.RefreshReports(t.Context(), pool))(t); mine != 3 || theirs != 0 || again != 0 {
		t.Errorf("days: the first wrote %d, the second %d, a third %d", mine, theirs, again)
	}
	if n := value[int](t, pool, `select sum(total) from klingwatch.daily_summaries`); n != 1 {
		t.Errorf("%d tasks are summarized", n)
	}
	// a task of a day that is over ends
	move(t, pool, ids[0], db.Failed)
	addEvent(t, pool, ids[0])
	if n := must(db.RefreshReports(t.Context(), pool))(t); n != 1 {
		t.Errorf("%d days were written anew", n)
	}
	if n := value[int](t, pool, `select failed from klingwatch.daily_summaries`); n != 1 {
		t.Errorf("%d failed", n)
	}
}

func TestLifetimesAreThoseOfRecentTasks(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, row := range []struct{ name, status, created, finished, upstream string }{
		{"old", "succeeded", "40 d", "39 d", ""},
		{"succeeded", "succeeded", "10 min", "8 min", ""},
		{"by the provider's clock", "failed", "10 min", "5 min", "3 min"},
		{"by a clock that is wrong", "succeeded", "10 min", "4 min", "7 min"},
		{"by a clock that stands", "succeeded", "10 min", "3 min", "0"},
		{"running", "processing", "10 min", "", ""},
		{"expired", "expired", "10 min", "1 min", ""},
		{"canceled", "canceled", "10 min", "1 min", ""},
		{"not found", "not_found", "10 min", "1 min", ""},
		{"retried", "succeeded", "10 min", "1 min", ""},
	} {
		run(t, pool, `
			insert into klingwatch.tasks (task_id, action, action2, status, created_at, finished_at, upstream_created_at, upstream_updated_at, retried_at)
			values (replace($1, ' ', '-'), 'videos', 'text2video', $2, now() - $3::interval, now() - nullif($4, '')::interval,
			        case when $5 <> '' then timestamptz '2020-01-01' end, timestamptz '2020-01-01' + nullif($5, '')::interval, case when $1 = 'retried' then now() end)`,
			row.name, row.status, row.created, row.finished, row.upstream)
	}
	lifetimes := func(window, limit int) (ended, running []time.Duration) {
		t.Helper()
		for _, l := range must(db.RecentLifetimes(t.Context(), pool, 30*24*time.Hour, window, limit))(t) {
			if l.Action != "videos" || l.Action2 != "text2video" {
				t.Errorf("%+v", l)
			}
			if l.Ended {
				ended = append(ended, l.Age.Round(time.Minute))
			} else {
				running = append(running, l.Age.Round(time.Minute))
			}
		}
		slices.Sort(ended)
		slices.Sort(running)
		return ended, running
	}
	ended, running := lifetimes(100, 100)
	if !slices.Equal(ended, []time.Duration{2 * time.Minute, 3 * time.Minute, 6 * time.Minute, 7 * time.Minute}) || !slices.Equal(running, []time.Duration{9 * time.Minute, 10 * time.Minute}) {
		t.Errorf("ended after %v, running for %v", ended, running)
	}
	if ended, running := lifetimes(7, 100); len(ended) != 2 || len(running) != 2 {
		t.Errorf("of the newest seven: ended after %v, running for %v", ended, running)
	}
	// of those that have ended the newest five are: retried, not found, canceled, expired, by a clock that stands
	if ended, running := lifetimes(100, 5); len(ended) != 1 || len(running) != 2 {
		t.Errorf("five of each: ended after %v, running for %v", ended, running)
	}
	if got := must(db.RecentLifetimes(t.Context(), dbtest.New(t), time.Hour, 100, 100))(t); len(got) != 0 {
		t.Errorf("without tasks: %+v", got)
	}
}

// figureLimits are those of the tests.
var figureLimits = db.FigureLimits{Overdue: time.Minute, Expiring: time.Hour, Expired: time.Hour}

func TestTheFiguresCountWhatIsOpen(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	empty := must(db.Stats(t.Context(), pool, figureLimits))(t)
	if len(empty.Tables) != 6 {
		t.Errorf("sizes of %d tables", len(empty.Tables))
	}
	for _, table := range empty.Tables {
		if table.Bytes <= 0 || table.Dead < 0 {
			t.Errorf("%+v", table)
		}
	}
	ids := track(t, pool, "never-polled", "pending", "submitted", "late", "processing", "ended")
	for id, status := range map[int64]string{ids[2]: db.Submitted, ids[3]: db.Processing, ids[4]: db.Processing, ids[5]: db.Succeeded} {
		move(t, pool, id, status)
	}
	run(t, pool, `update klingwatch.tasks set polls = 1 where id <> $1`, ids[0])
	run(t, pool, `update klingwatch.tasks set created_at = now() - interval '5 min'`)
	run(t, pool, `update klingwatch.tasks set deadline_at = now() - interval '10 min' where id = any ($1)`, []int64{ids[3], ids[5]})
	run(t, pool, `update klingwatch.tasks set deadline_at = now() - interval '30 s' where id = $1`, ids[4])
	add := func(url, sql string) {
		id := addEndpoint(t, pool, url)
		run(t, pool, `update klingwatch.webhook_endpoints set `+sql+` where id = $1`, id)
	}
	due := deliveries(t, pool, 3) // to the first endpoint, which works
	deliverAll(t, pool, due[:1])
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = null where id = $1`, due[1])
	add("https://failing.example/", `failing_since = now()`)
	add("https://off.example/", `disabled_at = now(), failing_since = now()`)
	bulk(t, pool, 1)
	check(t, db.StopBulk(t.Context(), pool, bulk(t, pool, 1).ID))
	for i, in := range []time.Duration{30 * time.Minute, 50 * time.Minute, 2 * time.Hour, -30 * time.Minute, -2 * time.Hour} {
		check(t, db.AddOutputs(t.Context(), pool, []db.Output{{Task: ids[5], Kind: "image", Position: i, URL: "https://a.example/", ExpiresAt: new(time.Now().Add(in))}}, false))
	}
	got := must(db.Stats(t.Context(), pool, figureLimits))(t)
	seconds := got.OverdueSeconds
	got.Tables, got.OverdueSeconds = nil, 0
	want := db.Figures{
		Pending: 2, Submitted: 1, Processing: 2, Overdue: 2, DeliveriesPending: 1, DeliveriesParked: 1, EndpointsEnabled: 1, EndpointsFailing: 1, EndpointsDisabled: 1,
		Redeliveries: 1, OutputsExpiring: 2, OutputsExpired: 1,
	}
	if seconds < 600 || seconds > 660 || !equalFigures(got, want) {
		t.Errorf("figures %+v, overdue by %v s; want %+v", got, seconds, want)
	}
}

func equalFigures(a, b db.Figures) bool {
	a.Tables, b.Tables = nil, nil
	return slices.Equal([]int64{a.Pending, a.Submitted, a.Processing, a.Overdue, a.DeliveriesPending, a.DeliveriesParked, a.EndpointsEnabled, a.EndpointsFailing, a.EndpointsDisabled, a.Redeliveries, a.OutputsExpiring, a.OutputsExpired},
		[]int64{b.Pending, b.Submitted, b.Processing, b.Overdue, b.DeliveriesPending, b.DeliveriesParked, b.EndpointsEnabled, b.EndpointsFailing, b.EndpointsDisabled, b.Redeliveries, b.OutputsExpiring, b.OutputsExpired})
}

func TestTheBacklogCountsTasksThatNobodyPolls(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	backlog := func(q db.Querier) db.Backlog {
		t.Helper()
		return must(db.TaskBacklog(t.Context(), q, deadline, time.Minute))(t)
	}
	if got := backlog(pool); got != (db.Backlog{}) {
		t.Errorf("without tasks: %+v", got)
	}
	ids := track(t, pool, "polled", "never-polled", "past-its-deadline", "waits-for-a-worker", "of-the-dead", "without-a-job", "ended", "ancient")
	_, slot := instance(t, pool)
	for _, id := range ids {
		take(t, pool, id, db.InstanceID(slot))
	}
	run(t, pool, `update klingwatch.tasks set polls = 1 where id <> $1`, ids[1])
	run(t, pool, `update klingwatch.tasks set created_at = now() - interval '5 min' where id = $1`, ids[1])
	run(t, pool, `update klingwatch.tasks set created_at = now() - interval '24 h 10 min' where id = $1`, ids[2])
	run(t, pool, `update klingwatch.river_job set state = 'available', scheduled_at = now() - interval '20 min' where unique_key = klingwatch.job_key('poll', $1)`, ids[3])
	take(t, pool, ids[4], db.InstanceID(9))
	run(t, pool, `delete from klingwatch.river_job where unique_key = klingwatch.job_key('poll', $1)`, ids[5])
	move(t, pool, ids[6], db.Failed)
	tx := begin(t, pool)
	run(t, tx, `delete from klingwatch.tasks where id = $1`, ids[7])
	if got := backlog(tx); got.Open != 6 || got.Overdue != 3 || got.Latest != ids[3] || !near(got.LatestBy, 20*time.Minute) || got.Unattended != 2 {
		t.Errorf("%+v; want the task %d to be the latest", got, ids[3])
	}
	check(t, tx.Rollback(t.Context()))
	run(t, pool, `update klingwatch.tasks set deadline_at = now() - interval '1000 y' where id = $1`, ids[7])
	if got := backlog(pool); got.Open != 7 || got.Overdue != 4 || got.Latest != ids[7] || got.LatestBy < 90*365*24*time.Hour {
		t.Errorf("with a deadline in the middle ages: %+v", got)
	}
}

func TestTheBacklogCountsDeliveriesThatNobodySends(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	backlog := func() db.DeliveryBacklog {
		t.Helper()
		return must(db.OverdueDeliveries(t.Context(), pool, time.Minute))(t)
	}
	if got := backlog(); got != (db.DeliveryBacklog{}) {
		t.Errorf("without deliveries: %+v", got)
	}
	ids := deliveries(t, pool, 5)
	for i, ago := range []string{"5 min", "20 min", "30 s", "-1 h"} {
		run(t, pool, `update klingwatch.deliveries set next_attempt_at = now() - $1::interval where id = $2`, ago, ids[i])
	}
	run(t, pool, `update klingwatch.deliveries set state = 'delivered', next_attempt_at = now() - interval '1 d' where id = $1`, ids[4])
	if got := backlog(); got.Pending != 4 || got.Overdue != 2 || got.Latest != ids[1] || !near(got.LatestBy, 20*time.Minute) {
		t.Errorf("%+v; want the delivery %d to be the latest", got, ids[1])
	}
}
