package db_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// job is the live job of a row.
type job struct {
	ID          int64
	State       string
	ScheduledAt time.Time
	Instance    *string
}

// jobsOf returns the live jobs of a row: one, or none.
func jobsOf(t testing.TB, q db.Querier, kind string, id int64) []job {
	t.Helper()
	rows, err := q.Query(t.Context(), `select id, state, scheduled_at, instance from klingwatch.live_jobs where key = klingwatch.job_key($1, $2)`, kind, id)
	check(t, err)
	return must(pgx.CollectRows(rows, pgx.RowToStructByName[job]))(t)
}

// missing gives jobs to rows that have none.
func missing(t testing.TB, q db.Querier) int {
	t.Helper()
	return must(db.GiveMissingJobs(t.Context(), q, 15*time.Second))(t)
}

func TestRowsWithoutAJobAreGivenOne(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "open", "late", "checked-enough", "canceled")
	move(t, pool, ids[1], db.Expired)
	move(t, pool, ids[2], db.Expired)
	move(t, pool, ids[3], db.Canceled)
	run(t, pool, `update klingwatch.tasks set late_checks_until = now() + interval '1 h' where id = $1`, ids[1])
	run(t, pool, `update klingwatch.tasks set late_checks_until = now() - interval '1 h' where id = $1`, ids[2])
	due := deliveries(t, pool, 3)
	deliverAll(t, pool, due[1:2])
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = null where id = $1`, due[2])
	files := keptFiles(t, pool, ids[3], db.ArchivePending, db.ArchiveLost)
	under, over := bulk(t, pool, 1), bulk(t, pool, 1)
	check(t, db.StopBulk(t.Context(), pool, over.ID))
	if n := missing(t, pool); n != 1 {
		t.Errorf("%d jobs were missing, only one delivery that is due has none", n)
	}
	run(t, pool, `delete from klingwatch.river_job`)
	if n := missing(t, pool); n != 5 {
		t.Errorf("%d jobs were missing, 5 were deleted that are needed", n)
	}
	for _, row := range []struct {
		kind string
		id   int64
		want int
	}{
		{"poll", ids[0], 1}, {"poll", ids[1], 1}, {"poll", ids[2], 0}, {"poll", ids[3], 0},
		{"deliver", due[0], 1}, {"deliver", due[1], 0}, {"deliver", due[2], 0},
		{"archive", files[0], 1}, {"archive", files[1], 0},
		{"bulk", under.ID, 1}, {"bulk", over.ID, 0},
	} {
		if jobs := jobsOf(t, pool, row.kind, row.id); len(jobs) != row.want || row.want == 1 && jobs[0].State != "available" {
			t.Errorf("%s of %d: %+v", row.kind, row.id, jobs)
		}
	}
	if n := missing(t, pool); n != 0 {
		t.Errorf("%d jobs were missing a second time", n)
	}
}

// A row became due while its job was going to sleep.
func TestAJobThatOversleepsIsWoken(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "reopened", "soon", "polled")
	run(t, pool, `update klingwatch.tasks set last_polled_at = now() where id = $1`, ids[2])
	due := deliveries(t, pool, 2)
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = now() - interval '1 s' where id = $1`, due[0])
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = now() + interval '1 h' where id = $1`, due[1])
	run(t, pool, `update klingwatch.river_job set state = 'scheduled', scheduled_at = now() + interval '1 h'`)
	run(t, pool, `update klingwatch.river_job set scheduled_at = now() + interval '5 s' where unique_key = klingwatch.job_key('poll', $1)`, ids[1])
	missing(t, pool)
	for _, row := range []struct {
		kind string
		id   int64
		want string
	}{
		{"poll", ids[0], "available"}, {"poll", ids[1], "scheduled"}, {"poll", ids[2], "scheduled"}, {"deliver", due[0], "available"}, {"deliver", due[1], "scheduled"},
	} {
		if jobs := jobsOf(t, pool, row.kind, row.id); len(jobs) != 1 || jobs[0].State != row.want {
			t.Errorf("%s of %d should be %s: %+v", row.kind, row.id, row.want, jobs)
		}
	}
}

func TestTwoProcessesGiveMissingJobsOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b", "c")
	run(t, pool, `delete from klingwatch.river_job`)
	first, n := begin(t, pool), -1
	if n := missing(t, first); n != 3 {
		t.Errorf("the first gave %d", n)
	}
	wait := dbtest.Blocked(t, pool, func() (err error) {
		n, err = db.GiveMissingJobs(t.Context(), pool, 15*time.Second)
		return err
	})
	commit(t, first)
	check(t, wait())
	if n != 0 {
		t.Errorf("the second gave %d", n)
	}
	for _, id := range ids {
		if jobs := jobsOf(t, pool, "poll", id); len(jobs) != 1 {
			t.Errorf("task %d has the jobs %+v", id, jobs)
		}
	}
}

func TestJobsThatAreDueAreWokenByOneProcess(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b", "c", "later", "running")
	run(t, pool, `update klingwatch.river_job set state = 'scheduled', scheduled_at = now() - interval '1 s'`)
	run(t, pool, `update klingwatch.river_job set scheduled_at = now() + interval '1 h' where unique_key = klingwatch.job_key('poll', $1)`, ids[3])
	run(t, pool, `update klingwatch.river_job set state = 'running' where unique_key = klingwatch.job_key('poll', $1)`, ids[4])
	first := begin(t, pool)
	mine := must(db.WakeDueJobs(t.Context(), first, 2))(t)
	theirs := must(db.WakeDueJobs(t.Context(), pool, 2))(t) // does not wait for the first
	commit(t, first)
	if mine != 2 || theirs != 1 {
		t.Errorf("the first woke %d, the second %d", mine, theirs)
	}
	var states []string
	for _, id := range ids {
		states = append(states, jobsOf(t, pool, "poll", id)[0].State)
	}
	if !slices.Equal(states, []string{"available", "available", "available", "scheduled", "running"}) {
		t.Errorf("states %q", states)
	}
}

// take has an instance work the job of a task, as River does.
func take(t testing.TB, q db.Querier, task int64, instance string) {
	t.Helper()
	run(t, q, `update klingwatch.river_job
		set state = 'running', attempt = attempt + 1, attempted_at = clock_timestamp(), attempted_by = array_append(attempted_by, $2)
		where unique_key = klingwatch.job_key('poll', $1)`, task, instance)
}

func TestJobsOfAnInstanceThatIsGoneAreGivenBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "living", "dead", "moved-on", "waiting")
	_, slot := instance(t, pool)
	alive, dead := db.InstanceID(slot), db.InstanceID(9)
	take(t, pool, ids[0], alive)
	take(t, pool, ids[1], dead)
	take(t, pool, ids[2], dead)
	take(t, pool, ids[2], alive) // rescued from the dead one
	leader := func(id string) {
		run(t, pool, `insert into klingwatch.river_leader (elected_at, expires_at, leader_id) values (now(), now() + interval '1 h', $1)
			on conflict (name) do update set leader_id = excluded.leader_id`, id)
	}
	leader(dead)
	listener := must(pool.Acquire(t.Context()))(t)
	defer listener.Release()
	run(t, listener, `listen "klingwatch.river_insert"`)

	if n := must(db.ReturnJobs(t.Context(), pool, 0))(t); n != 1 {
		t.Errorf("%d jobs were given back", n)
	}
	if n := value[int](t, pool, `select count(*) from klingwatch.river_leader`); n != 0 {
		t.Error("the dead leader still leads")
	}
	if note := must(listener.Conn().WaitForNotification(t.Context()))(t); !strings.Contains(note.Payload, `"poll-`) {
		t.Errorf("the note says %s", note.Payload)
	}
	for id, want := range map[int64]string{ids[0]: "running", ids[1]: "available", ids[2]: "running", ids[3]: "available"} {
		if got := jobsOf(t, pool, "poll", id)[0]; got.State != want {
			t.Errorf("the job of task %d should be %s: %+v", id, want, got)
		}
	}
	if attempt := value[int](t, pool, `select attempt from klingwatch.river_job where unique_key = klingwatch.job_key('poll', $1)`, ids[1]); attempt != 0 {
		t.Errorf("the job that was given back has used %d attempts", attempt)
	}
	leader(alive)
	if n := must(db.ReturnJobs(t.Context(), pool, 0))(t); n != 0 {
		t.Errorf("%d jobs were given back a second time", n)
	}
	if n := value[int](t, pool, `select count(*) from klingwatch.river_leader`); n != 1 {
		t.Error("the living leader leads no more")
	}
	// the slot was just claimed: what runs there is of a process that is gone
	if n := must(db.ReturnJobs(t.Context(), pool, slot))(t); n != 2 {
		t.Errorf("%d jobs of the earlier holder of the slot were given back", n)
	}
}

// A job of a dead instance is rescued and taken at the moment when another
// process gives it back.
func TestAJobThatIsTakenMeanwhileIsNotGivenBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	_, slot := instance(t, pool)
	for _, taker := range []string{db.InstanceID(slot), "nobody"} {
		take(t, pool, id, db.InstanceID(9))
		tx, n := begin(t, pool), -1
		if taker == "nobody" { // it has ended
			run(t, tx, `update klingwatch.river_job set state = 'completed', finalized_at = now()`)
		} else {
			take(t, tx, id, taker)
		}
		if n := must(db.ReturnJobs(t.Context(), pool, 0))(t); n != 0 {
			t.Errorf("%d given back by a sweep while %s takes it", n, taker)
		}
		wait := dbtest.Blocked(t, pool, func() (err error) {
			n, err = db.ReturnJobs(t.Context(), pool, 9) // its slot is claimed again
			return err
		})
		commit(t, tx)
		check(t, wait())
		if state := value[string](t, pool, `select state from klingwatch.river_job`); n != 0 || state == "available" {
			t.Errorf("taken by %s: %d given back, it is %s", taker, n, state)
		}
	}
}

func TestTwoProcessesGiveJobsBackOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	take(t, pool, track(t, pool, "t")[0], db.InstanceID(9))
	first, n := begin(t, pool), -1
	if n := must(db.ReturnJobs(t.Context(), first, 0))(t); n != 1 {
		t.Errorf("the first gave back %d", n)
	}
	if n := must(db.ReturnJobs(t.Context(), pool, 0))(t); n != 0 {
		t.Errorf("a sweep gave back %d that the first is giving back", n)
	}
	wait := dbtest.Blocked(t, pool, func() (err error) {
		n, err = db.ReturnJobs(t.Context(), pool, 9)
		return err
	})
	commit(t, first)
	check(t, wait())
	if n != 0 {
		t.Errorf("the second gave back %d", n)
	}
}

// More jobs than are given back at once.
func TestManyJobsAreGivenBackInBatches(t *testing.T) {
	t.Parallel()
	const jobs = 12_000
	pool := dbtest.New(t)
	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2) select 't' || i, 'videos', 'text2video' from generate_series(1, $1::int) i`, jobs)
	for _, own := range []int{0, 9} {
		run(t, pool, `update klingwatch.river_job set state = 'running', attempted_at = now(), attempted_by = '{kw9}'`)
		if n := must(db.ReturnJobs(t.Context(), pool, own))(t); n != jobs {
			t.Errorf("%d jobs were given back", n)
		}
	}
}

// fail lets the job of a task have failed before, the last time so long ago.
func fail(t testing.TB, q db.Querier, task int64, errors []string, last time.Duration) {
	t.Helper()
	run(t, q, `
		update klingwatch.river_job
		set state = 'retryable',
		    attempt = cardinality($2::text[]),
		    scheduled_at = now() + interval '1 min',
		    errors = array(select jsonb_build_object('at', now() - $3::interval, 'attempt', n, 'error', e, 'trace', '')
		                   from unnest($2::text[]) with ordinality as u (e, n))
		where unique_key = klingwatch.job_key('poll', $1)`, task, errors, last)
}

func TestJobsThatFailAgainAndAgainAreFound(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "fine", "failed-twice", "failing", "failing-more", "failed-long-ago")
	if f := must(db.GetFailingJobs(t.Context(), pool))(t); f != (db.FailingJobs{}) {
		t.Errorf("failing is %+v", f)
	}
	fail(t, pool, ids[1], []string{"a", "b"}, 0)
	fail(t, pool, ids[2], []string{"a", "b", "c"}, 0)
	fail(t, pool, ids[3], []string{"a", "b", "c", "d"}, 0)
	fail(t, pool, ids[4], []string{"a", "b", "c", "d"}, 2*time.Hour)
	want := db.FailingJobs{Jobs: 2, Kind: "poll", Of: ids[3], Error: "d"}
	if f := must(db.GetFailingJobs(t.Context(), pool))(t); f != want {
		t.Errorf("failing is %+v, want %+v", f, want)
	}
	if f := must(db.Stats(t.Context(), pool, db.FigureLimits{}))(t); f.FailingJobs != 2 {
		t.Errorf("%d jobs count as failing, want 2", f.FailingJobs)
	}
}

// A clock that goes back by an hour leaves everything that waits an hour ahead: that is
// what these rows show. Each is due after its own length.
func TestWaitsAreBoundedByTheirLength(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "new", "sleeps", "sleeps-long", "short", "failed", "older-version", "older-version-in-order", "in-order", "running", "failed-again")
	for _, set := range []struct {
		job int
		sql string
	}{
		{0, `created_at = now() + interval '1 h', scheduled_at = now() + interval '1 h'`},
		{1, `state = 'scheduled', attempted_at = now() + interval '59 min', scheduled_at = now() + interval '1 h 30 s', metadata = '{"wait_seconds": 30, "klingwatch": {"polls": 3}}'`},
		{2, `state = 'scheduled', attempted_at = now() - interval '1 h', scheduled_at = now() + interval '26 h', metadata = '{"wait_seconds": 86400}'`},
		{3, `attempted_at = now() + interval '1 h', scheduled_at = now() + interval '1 h 3 s', metadata = '{"wait_seconds": 3}'`},
		{4, `state = 'retryable', attempted_at = now() + interval '1 h', scheduled_at = now() + interval '1 h 3 s', metadata = '{"wait_seconds": 3}'`},
		{5, `state = 'scheduled', attempted_at = now() + interval '1 h', scheduled_at = now() + interval '1 h 20 s'`},
		{6, `state = 'scheduled', attempted_at = now() - interval '1 s', scheduled_at = now() + interval '1 h'`},
		{7, `state = 'scheduled', attempted_at = now(), scheduled_at = now() + interval '1 h', metadata = '{"wait_seconds": 3600}'`},
		{9, `state = 'retryable', scheduled_at = now() + interval '1 h 8 s', errors = array[jsonb_build_object('at', now() + interval '1 h')]`},
		{8, `state = 'running', attempted_at = now() + interval '1 h', scheduled_at = now() + interval '1 h', metadata = '{"wait_seconds": 5}'`},
	} {
		run(t, pool, `update klingwatch.river_job set `+set.sql+` where unique_key = klingwatch.job_key('poll', $1)`, ids[set.job])
	}
	if n := must(db.ShortenWaits(t.Context(), pool, 45*time.Second, 3))(t); n != 3 {
		t.Errorf("%d shortened, at most 3 were to be", n)
	}
	if n := must(db.ShortenWaits(t.Context(), pool, 45*time.Second, 100))(t); n != 4 {
		t.Errorf("%d shortened, 4 were left", n)
	}
	if n := must(db.ShortenWaits(t.Context(), pool, 45*time.Second, 100))(t); n != 0 {
		t.Errorf("%d shortened once more", n)
	}
	now := value[time.Time](t, pool, `select now()`)
	for i, want := range []time.Duration{0, 30 * time.Second, 24 * time.Hour, 3 * time.Second, 45 * time.Second, 20 * time.Second, time.Hour, time.Hour, time.Hour, 8 * time.Second} {
		if left := jobsOf(t, pool, "poll", ids[i])[0].ScheduledAt.Sub(now); left > want || left < want-10*time.Second {
			t.Errorf("job %d is due in %s, want %s", i, left, want)
		}
	}
}

// The row of a delivery says when it is due, too.
func TestADeliveryIsDueWithItsShortenedJob(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	due := deliveries(t, pool, 3)
	run(t, pool, `update klingwatch.river_job set state = 'scheduled', attempted_at = now() + interval '1 h', scheduled_at = now() + interval '1 h 5 s', metadata = '{"wait_seconds": 5}' where kind = 'deliver'`)
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = now() + interval '1 h 5 s', held_since = now() + interval '1 h'`)
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = null, held_since = null where id = $1`, due[1]) // waits for its endpoint
	run(t, pool, `update klingwatch.deliveries set state = 'canceled', next_attempt_at = null where id = $1`, due[2])
	if n := must(db.ShortenWaits(t.Context(), pool, time.Minute, 100))(t); n != 3 {
		t.Errorf("%d shortened", n)
	}
	if n := value[int](t, pool, `select count(*) from klingwatch.deliveries where next_attempt_at between now() and now() + interval '5 s' and held_since <= now() and id = $1`, due[0]); n != 1 {
		t.Error("the delivery is not due in 5 s")
	}
	if n := value[int](t, pool, `select count(*) from klingwatch.deliveries where next_attempt_at is not null`); n != 1 {
		t.Errorf("%d deliveries are due, one was", n)
	}
}
