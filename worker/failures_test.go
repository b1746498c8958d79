package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// The rows of some tasks, or those that come with them, are refused by something that an
// administrator made. The others are written.
func TestATaskThatCannotBeWrittenIsTold(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	if _, err := pool.Exec(t.Context(), `
		create function public.refuse() returns trigger language plpgsql as $$ begin raise exception 'not on a Sunday'; end $$;
		create trigger no_end before update on klingwatch.tasks
			for each row when (old.task_id like '%no-end%' and new.finished_at is not null) execute function public.refuse();
		create trigger no_update before update on klingwatch.tasks
			for each row when (old.task_id like '%no-update%') execute function public.refuse();
		alter table klingwatch.tasks add constraint "no result" check (task_id not like '%no-result%' or result is null);
		create trigger no_event before insert on klingwatch.events
			for each row when (new.payload->'data'->>'task_id' like '%no-event%') execute function public.refuse()`); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 40)
	for i := range ids {
		ids[i] = fmt.Sprintf("quick-%d", i)
	}
	cursed := track(t, pool, "images/generations", "", "quick-no-end", "quick-no-update", "quick-no-result", "quick-no-event")
	track(t, pool, "images/generations", "", ids...)
	cfg := config(t, pool, relayURL)
	startWorker(t, cfg)

	// the one more is the one that can be stored without a part of the reply
	await(t, "the others succeed", func() bool { return statuses(t, pool)[db.Succeeded] == len(ids)+1 })
	lastError := func(task int64, begin string) func() bool {
		return func() bool {
			return number(t, pool, `select count(*) from klingwatch.tasks where id = $1 and starts_with(last_error, $2)`, task, begin) == 1
		}
	}
	await(t, "the end that is refused is told", lastError(cursed[0], "the result could not be stored: "))
	await(t, "the part of the reply that is refused is told", lastError(cursed[2], "a part of the reply could not be stored: "))
	await(t, "the event that is refused is told", lastError(cursed[3], "the result could not be stored: "))
	await(t, "three jobs count as failing", func() bool { return scrape(t, cfg.Metrics)["klingwatch_failing_jobs"] == 3 })
	if failing, err := db.GetFailingJobs(t.Context(), pool); err != nil || failing.Kind != "poll" {
		t.Errorf("%+v, %v", failing, err)
	}

	// and all end once it is mended
	if _, err := pool.Exec(t.Context(), `
		drop trigger no_end on klingwatch.tasks;
		drop trigger no_update on klingwatch.tasks;
		drop trigger no_event on klingwatch.events;
		update klingwatch.river_job set scheduled_at = now() where state = 'retryable'`); err != nil {
		t.Fatal(err)
	}
	await(t, "all succeed", func() bool { return statuses(t, pool)[db.Succeeded] == len(ids)+4 })
	if n := number(t, pool, `select count(*) from klingwatch.events where type = 'task.succeeded'`); n != len(ids)+4 {
		t.Errorf("%d terminal events", n)
	}
}

func TestTasksThatSomebodyKeepsLockedDoNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	locked := track(t, pool, "images/generations", "", "quick-a", "quick-b", "quick-c")
	ids := make([]string, 40)
	for i := range ids {
		ids[i] = fmt.Sprintf("quick-%d", i)
	}
	track(t, pool, "images/generations", "", ids...)
	psql, err := pool.Begin(t.Context()) // of somebody who goes to lunch
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = psql.Rollback(context.Background()) }()
	if _, err := psql.Exec(t.Context(), `set local idle_in_transaction_session_timeout = 0`); err != nil {
		t.Fatal(err)
	}
	if _, err := psql.Exec(t.Context(), `update klingwatch.tasks set external_id = 'held' where id = any ($1)`, locked); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	startWorker(t, config(t, pool, relayURL))
	await(t, "the others succeed", func() bool { return statuses(t, pool)[db.Succeeded] == len(ids) })
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the others took %s", took)
	}
	if err := psql.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "all succeed", func() bool { return statuses(t, pool)[db.Succeeded] == len(ids)+len(locked) })
	if n := number(t, pool, `select count(*) from klingwatch.river_job where array_length(errors, 1) > 0`); n > 0 {
		t.Errorf("%d jobs have errors", n)
	}
}

func TestAJobThatIsRefusedIsTriedAgainLessAndLessOften(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const refused, outage = "a trigger says no (SQLSTATE P0001)", "cannot execute UPDATE in a read-only transaction (SQLSTATE 25006)"
	before := func(n int, text string, age time.Duration) (errors []rivertype.AttemptError) {
		for i := range n {
			errors = append(errors, rivertype.AttemptError{Error: text, At: now.Add(-age * time.Duration(n-i))})
		}
		return errors
	}
	for _, c := range []struct {
		name   string
		before []rivertype.AttemptError
		want   time.Duration
	}{
		{"the first failure", nil, time.Second},
		{"the third of an outage", before(2, outage, time.Second), 3 * time.Second},
		{"the hundredth of an outage", before(99, outage, 20*time.Second), outageRetry},
		{"the third refusal", before(2, refused, time.Second), 4 * time.Second},
		{"the hundredth refusal", before(99, refused, 5*time.Minute), refusalRetry},
		{"the first one after a good hour", before(99, refused, time.Hour), time.Second},
	} {
		if got := retryWait(c.before, now); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestErrorsThatAreAlikeAreLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	logged := newRepetitions()
	now := time.Now()
	poll, deliver := failure{"poll", "P0001"}, failure{"deliver", "P0001"}
	for _, c := range []struct {
		failure failure
		after   time.Duration
		others  int
		tell    bool
	}{
		{poll, 0, 0, true},
		{poll, time.Second, 0, false},
		{deliver, time.Second, 0, true},
		{poll, 59 * time.Second, 0, false},
		{poll, 61 * time.Second, 2, true},
		{poll, 62 * time.Second, 0, false},
	} {
		if others, tell := logged.note(c.failure, now.Add(c.after)); others != c.others || tell != c.tell {
			t.Errorf("%v after %s: %d others, told %t; want %d, %t", c.failure, c.after, others, tell, c.others, c.tell)
		}
	}
}
