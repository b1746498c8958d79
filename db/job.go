package db

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// This file and the migrations are all that knows River's tables: jobs are made and
// found here. Package worker works them, through River's client.

// jobsTable holds River's jobs.
const jobsTable = "river_job"

// GiveMissingJobs gives a job to every open task, every expired task with late checks
// to come, every planned delivery, every file that is to be kept, every bulk action and
// every asked cancellation that has none: jobs are disposable, these rows are not. It also wakes a job that sleeps for longer than
// longSleep although its task was reopened, or its delivery made due, while it was
// going to sleep. It returns how many jobs were missing.
func GiveMissingJobs(ctx context.Context, q Querier, longSleep time.Duration) (given int, err error) {
	err = q.QueryRow(ctx, `
		select coalesce(klingwatch.give_jobs('poll', (
			select array_agg(t.id)
			from klingwatch.tasks t
			where (t.finished_at is null or t.late_checks_until > now())
			  and not exists (select from klingwatch.live_jobs j
			                  where j.key = klingwatch.job_key('poll', t.id)
			                    and not (t.status = 'pending' and t.last_polled_at is null
			                             and j.scheduled_at > now() + @long_sleep::interval)))), 0)
		     + coalesce(klingwatch.give_jobs('deliver', (
			select array_agg(d.id)
			from klingwatch.deliveries d
			where d.state = 'pending' and d.next_attempt_at is not null
			  and not exists (select from klingwatch.live_jobs j
			                  where j.key = klingwatch.job_key('deliver', d.id)
			                    and not (d.next_attempt_at < now() and j.scheduled_at > now() + @long_sleep::interval)))), 0)
		     + coalesce(klingwatch.give_jobs('archive', (
			select array_agg(o.archive_id)
			from klingwatch.outputs o
			where o.archive_state = 'pending'
			  and not exists (select from klingwatch.live_jobs j where j.key = klingwatch.job_key('archive', o.archive_id)))), 0)
		     + coalesce(klingwatch.give_jobs('bulk', (
			select array_agg(b.id)
			from klingwatch.bulk_actions b
			where b.finished_at is null
			  and not exists (select
			                  from klingwatch.live_jobs j
			                  where j.key in (klingwatch.job_key('bulk', b.id), klingwatch.job_key('redeliver', b.id))))), 0)
		     + coalesce(klingwatch.give_jobs('cancel', (
			select array_agg(c.task)
			from klingwatch.cancellations c
			where not exists (select from klingwatch.live_jobs j where j.key = klingwatch.job_key('cancel', c.task)))), 0)`,
		pgx.StrictNamedArgs{"long_sleep": longSleep}).Scan(&given)
	if err != nil {
		return 0, fmt.Errorf("giving jobs to tasks that have none: %w", err)
	}
	return given, nil
}

// WakeDueJobs makes scheduled jobs whose time has come available, at most limit of
// them, and returns how many. River's own scheduler does so, too, but its query takes
// minutes where many come due before the planner's statistics know of them.
func WakeDueJobs(ctx context.Context, q Querier, limit int) (woken int64, err error) {
	tag, err := q.Exec(ctx, `
		update klingwatch.river_job
		set state = 'available'
		where id in (select id
		             from klingwatch.river_job
		             where state = 'scheduled' and scheduled_at <= now()
		             limit @limit
		             for update skip locked)`,
		pgx.StrictNamedArgs{"limit": limit})
	if err != nil {
		return 0, fmt.Errorf("waking jobs that are due: %w", err)
	}
	return tag.RowsAffected(), nil
}

// DeleteDoneJobs deletes jobs that have done their work. One that was given back meanwhile,
// and not taken yet, stays: it finds nothing to do.
func DeleteDoneJobs(ctx context.Context, q interface {
	Exec(ctx context.Context, sql string, args ...any) error
}, ids []int64) error {
	return q.Exec(ctx, `delete from klingwatch.river_job where id = any (@ids) and state = 'running'`, pgx.StrictNamedArgs{"ids": ids})
}

// CallTasks has tasks asked about at once, since callbacks say that they have changed. A
// job that sleeps is woken, but for one in an interval, or brought forward to its end; of
// all other tasks the processes are told, one of which has them, or has them soon.
func CallTasks(ctx context.Context, q Querier, ids []int64, interval time.Duration) error {
	_, err := q.Exec(ctx, `
		with sleeping as (
			select s.id, s.task, s.called_at, case when s.woken <= s.called_at + @interval::interval then greatest(s.called_at, s.woken + @interval::interval) else s.called_at end as turn
			from (select l.id, c.task, clock_timestamp() as called_at, (l.metadata->>'woken')::timestamptz as woken
			      from unnest(@ids::bigint[]) as c(task)
			      join klingwatch.live_jobs l on l.key = klingwatch.job_key('poll', c.task)) s
		), woken as (
			update klingwatch.river_job j
			set state = case when s.turn > s.called_at then 'scheduled' else 'available' end::klingwatch.river_job_state,
			    scheduled_at = s.turn,
			    metadata = j.metadata || jsonb_build_object('woken', s.turn)
			from sleeping s
			where j.id = s.id and j.state in ('scheduled', 'available') and j.scheduled_at > s.turn
			returning s.task, j.queue
		)
		select (select count(pg_notify('klingwatch.river_insert', json_build_object('queue', queue)::text)) from (select distinct queue from woken) w),
		       (select count(pg_notify(@topic, @note || c.task)) from unnest(@ids::bigint[]) as c(task) where c.task not in (select task from woken))`,
		pgx.StrictNamedArgs{"ids": ids, "interval": interval, "topic": changedTopic, "note": callNote})
	if err != nil {
		return fmt.Errorf("waking the polls of %d tasks: %w", len(ids), err)
	}
	return nil
}

// fileJobs selects when the files were asked for that wait to be fetched, or are being so.
const fileJobs = `
			select created_at as asked_at
			from klingwatch.river_job
			where queue = 'archive' and state in ('available', 'retryable', 'running', 'scheduled')`

// queueAlive is after how long a queue that nobody works any more is known to be left:
// River notes every ten minutes which are worked.
const queueAlive = 15 * time.Minute

// FilesAreKept reports whether some process fetches files, or did so some minutes ago.
func FilesAreKept(ctx context.Context, q Querier) (kept bool, err error) {
	err = q.QueryRow(ctx, `select exists (select from klingwatch.river_queue where name = 'archive' and updated_at > now() - @alive::interval)`,
		pgx.StrictNamedArgs{"alive": queueAlive}).Scan(&kept)
	return kept, err
}

// FailingJobs are jobs that fail again and again, for another reason than an outage.
type FailingJobs struct {
	Jobs  int64
	Kind  string // of the newest: poll, deliver, archive, bulk or cancel; "": there are none
	Of    int64  // what that one works on: tasks.id (poll, cancel), deliveries.id, outputs.archive_id or bulk_actions.id
	Error string // its last
}

// failingJobs selects the jobs that wait for another try after three errors or more, the
// last three of them in the last hour.
const failingJobs = `
		select kind, (args->>'id')::bigint as of, errors[cardinality(errors)]->>'error' as error
		from klingwatch.river_job
		where state = 'retryable'
		  and cardinality(errors) >= 3
		  and (errors[cardinality(errors) - 2]->>'at')::timestamptz > now() - interval '1 hour'`

// GetFailingJobs returns how many jobs fail again and again, and one of them.
func GetFailingJobs(ctx context.Context, q Querier) (FailingJobs, error) {
	return one[FailingJobs](ctx, q, `
		with failing as (`+failingJobs+`
		), newest as (
			select * from failing order by of desc limit 1
		)
		select (select count(*) from failing) as jobs,
		       coalesce((select kind from newest), '') as kind,
		       coalesce((select of from newest), 0) as of,
		       coalesce((select error from newest), '') as error`)
}

// WaitKey is where the metadata of a job that was put to sleep holds for how long, in
// seconds.
const WaitKey = "wait_seconds"

// clockSlack is how far a job may sleep beyond its length: clocks differ a little.
const clockSlack = 2 * time.Second

// ShortenWaits brings forward what waits for longer than it was meant to, which happens
// where the database's clock goes back, or a process's clock is ahead of it: a job that
// was put to sleep is due after its length at the latest, counted from now, a new one
// now, one that failed after its own wait, or longestRetry; a delivery is due with its job. It changes at
// most limit jobs and returns how many.
func ShortenWaits(ctx context.Context, q Querier, longestRetry time.Duration, limit int) (shortened int, err error) {
	err = q.QueryRow(ctx, `
		with waiting as (
			select id, state, attempted_at, scheduled_at, (errors[cardinality(errors)]->>'at')::timestamptz as failed_at,
			       case when jsonb_typeof(metadata->@key) = 'number' then make_interval(secs => (metadata->>@key)::float8) end as told
			from klingwatch.river_job
			where state in ('available', 'scheduled', 'retryable') and scheduled_at > now() + @slack::interval
		), judged as (
			select id,
			       case
			           when state = 'retryable' then case when scheduled_at > failed_at then least(scheduled_at - failed_at, @longest_retry) else @longest_retry end
			           when attempted_at is null then interval '0'
			           -- River makes a job available at once that sleeps for less than five seconds
			           when state = 'available' then least(told, interval '5 s')
			           when told is not null then told
			           -- put to sleep by an older version
			           when attempted_at > now() then scheduled_at - attempted_at
			       end as wait
			from waiting
		), shortened as (
			update klingwatch.river_job j
			set scheduled_at = now() + w.wait,
			    attempted_at = least(j.attempted_at, now())
			from (select j.id, w.wait
			      from judged w
			      join klingwatch.river_job j using (id)
			      where j.scheduled_at > now() + w.wait + @slack::interval
			      limit @limit
			      for update of j skip locked) w
			where j.id = w.id and j.state in ('available', 'scheduled', 'retryable')
			returning j.kind, (j.args->>'id')::bigint as row_id, j.scheduled_at
		), due as (
			update klingwatch.deliveries d
			set next_attempt_at = s.scheduled_at,
			    held_since = least(d.held_since, now())
			from shortened s
			where s.kind = 'deliver' and d.id = s.row_id and d.state = 'pending' and d.next_attempt_at > s.scheduled_at
			returning d.id
		)
		select (select count(*) from shortened) from (select count(*) from due) d`,
		pgx.StrictNamedArgs{"key": WaitKey, "slack": clockSlack, "longest_retry": longestRetry, "limit": limit}).Scan(&shortened)
	if err != nil {
		return 0, fmt.Errorf("shortening waits: %w", err)
	}
	return shortened, nil
}

// ReturnJobs makes the running jobs of instances that are gone available, so that
// others work them at once instead of after River's rescue, and ends the leadership of
// an instance that is gone. own is the caller's slot where it has just claimed it and
// runs nothing yet, else 0. It returns how many jobs it made available.
//
// It does so in batches, in one order, and leaves alone what others have locked, who are
// doing the same or ending the job; the sweep comes again. Only the jobs of its own slot
// must not be left: nobody could tell them from what it works from now on.
func ReturnJobs(ctx context.Context, q Querier, own int) (returned int, err error) {
	if own != 0 {
		if returned, err = returnAllJobs(ctx, q, own, true); err != nil {
			return returned, err
		}
	}
	others, err := returnAllJobs(ctx, q, own, false)
	return returned + others, err
}

// returnAllJobs returns those that were worked under the slot own, or all others.
func returnAllJobs(ctx context.Context, q Querier, own int, ofOwn bool) (returned int, err error) {
	for {
		n, err := returnSomeJobs(ctx, q, own, ofOwn, returnBatch)
		if returned += n; err != nil || n < returnBatch {
			return returned, err
		}
	}
}

// returnBatch bounds how long the rows of jobs are locked that are given back.
const returnBatch = 5000

func returnSomeJobs(ctx context.Context, q Querier, own int, ofOwn bool, limit int) (returned int, err error) {
	locked := ` skip locked`
	if ofOwn {
		locked = ``
	}
	err = q.QueryRow(ctx, `
		with running as materialized (
			select id, attempted_at, attempted_by[array_upper(attempted_by, 1)] as instance
			from klingwatch.river_job
			where state = 'running'
		),`+liveInstances+`, alive as (
			select name from instances where slot <> @own
		), orphans as materialized (
			select j.id
			from running r
			join klingwatch.river_job j using (id)
			where j.state = 'running'
			  -- not taken by a living instance in between
			  and j.attempted_at = r.attempted_at and j.attempted_by[array_upper(j.attempted_by, 1)] = r.instance
			  and r.instance not in (select name from alive)
			  and (r.instance = @name) = @of_own
			order by j.id
			limit @limit
			for update of j`+locked+`
		), returned as (
			update klingwatch.river_job j
			set state = 'available',
			    scheduled_at = now(),
			    attempt = greatest(j.attempt - 1, 0)
			from orphans o
			where j.id = o.id
			returning j.queue
		), resigned as (
			-- others can become the leader at once
			delete from klingwatch.river_leader where leader_id not in (select name from alive)
		), woken as (
			select pg_notify('klingwatch.river_insert', json_build_object('queue', queue)::text)
			from (select distinct queue from returned) q
		)
		select (select count(*) from returned)
		from (select count(*) from woken) w`,
		pgx.StrictNamedArgs{"class": instanceLock, "own": own, "name": InstanceID(own), "of_own": ofOwn, "limit": limit}).Scan(&returned)
	if err != nil {
		return 0, fmt.Errorf("giving back jobs of instances that are gone: %w", err)
	}
	return returned, nil
}
