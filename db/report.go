package db

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// RefreshReports brings the summaries behind the report views up to date and returns
// how many days it wrote. Where another process is doing so it returns 0 at once.
func RefreshReports(ctx context.Context, q Querier) (days int, err error) {
	err = q.QueryRow(ctx, `select klingwatch.refresh_reports()`).Scan(&days)
	return days, err
}

// Lifetime is how long a task ran, or has run so far.
type Lifetime struct {
	Relay   string
	Action  string
	Action2 string
	Age     time.Duration // from the insertion to its end, else to now
	Ended   bool          // by the provider; else it runs, or we stopped looking
}

// RecentLifetimes returns how long tasks ran that are younger than since. It looks at
// the newest window tasks, and takes of each type the newest limit that have ended and
// the newest limit that have not: so it does not miss a type that many newer tasks of
// other types, or open ones of its own, follow. A task's end is the provider's, where
// the provider's two times make sense: we notice it a little later.
func RecentLifetimes(ctx context.Context, q Querier, since time.Duration, window, limit int) ([]Lifetime, error) {
	return all[Lifetime](ctx, q, `
		with recent as (
			select relay,
			       action,
			       action2,
			       status,
			       created_at,
			       finished_at,
			       upstream_created_at,
			       upstream_updated_at,
			       retried_at,
			       row_number() over (partition by relay, action, action2, finished_at is null order by id desc) as nth
			from klingwatch.tasks
			where id > (select max(id) from klingwatch.tasks) - @window
		)
		select relay,
		       action,
		       action2,
		       case when status not in ('succeeded', 'failed') then coalesce(finished_at, now()) - created_at
		            when upstream_updated_at > upstream_created_at
		                 and upstream_updated_at - upstream_created_at <= finished_at - created_at
		            then upstream_updated_at - upstream_created_at
		            else finished_at - created_at
		       end as age,
		       status in ('succeeded', 'failed') as ended
		from recent
		where nth <= @limit
		  and status in ('pending', 'submitted', 'processing', 'succeeded', 'failed', 'expired')
		  and retried_at is null
		  and created_at > now() - @since::interval`,
		pgx.StrictNamedArgs{"since": since, "window": window, "limit": limit})
}

// Figures are what the metrics show of the whole deployment at one moment.
type Figures struct {
	Pending        int64 // open tasks by status
	Submitted      int64
	Processing     int64
	Overdue        int64   // tasks that should have been asked about before FigureLimits.Overdue
	OverdueSeconds float64 // how long the most overdue of them is; 0: none is

	DeliveriesPending int64 // that have a next attempt
	DeliveriesParked  int64 // that wait for their endpoint to be enabled
	EndpointsEnabled  int64
	EndpointsFailing  int64 // enabled, but without a 2xx since a failure
	EndpointsDisabled int64
	Redeliveries      int64 // bulk redeliveries under way

	FailingJobs int64 // see FailingJobs

	OutputsExpiring int64 // URLs that expire within FigureLimits.Expiring
	OutputsExpired  int64 // URLs that expired within FigureLimits.Expired

	ArchiveWaiting  int64   // files that are to be fetched
	ArchiveOldest   float64 // seconds since the oldest of them was asked for; 0: none waits
	ArchiveExpiring int64   // files that were asked for, are not stored, and expire within a day

	Tables []TableSize `db:"-"` // that change most
}

// FigureLimits are the times by which Stats counts.
type FigureLimits struct {
	Overdue  time.Duration // a task counts as overdue this long after it was due
	Expiring time.Duration // from now: URLs that expire soon
	Expired  time.Duration // before now: URLs that expired lately
}

const (
	// unsafeWithin is how long before it expires a file should be stored.
	unsafeWithin = 24 * time.Hour
	// settledAfter is when a file is usually stored after the end of its task: at some relays
	// all files expire within a day.
	settledAfter = 15 * time.Minute
)

// TableSize is the size of a table.
type TableSize struct {
	Table string
	Bytes int64 // with its indexes
	Dead  int64 // rows that wait for vacuum, as Postgres estimates
}

// Stats counts what there is now. It runs all the time, so it reads only what partial
// and block range indexes find: rows that are open, pending or about to expire, never
// those that pile up. It takes 0.1 s with a million tasks, 50,000 of them open.
//
// A poll that changes nothing is not written. So a task counts as overdue when it was
// never polled although it has been there for a while, or when it is open after its
// deadline, at which its last poll was due.
func Stats(ctx context.Context, q Querier, limits FigureLimits) (Figures, error) {
	f, err := one[Figures](ctx, q, `
		select tasks.*,
		       deliveries.*,
		       endpoints.*,
		       outputs.*,
		       waiting.*,
		       unsafe.*,
		       (select count(*) from klingwatch.bulk_actions where finished_at is null and action = 'redeliver') as redeliveries,
		       (select count(*) from (`+failingJobs+`) as failing) as failing_jobs
		from (
			select count(*) filter (where status = 'pending') as pending,
			       count(*) filter (where status = 'submitted') as submitted,
			       count(*) filter (where status = 'processing') as processing,
			       count(*) filter (where due < now() - @overdue::interval) as overdue,
			       coalesce(extract(epoch from now())::float8
			              - extract(epoch from min(due) filter (where due < now() - @overdue::interval))::float8, 0) as overdue_seconds
			from (
				select status,
				       `+TaskDue+` as due
				from klingwatch.tasks t
				where finished_at is null
			) as open
		) as tasks, (
			select count(next_attempt_at) as deliveries_pending,
			       count(*) - count(next_attempt_at) as deliveries_parked
			from klingwatch.deliveries
			where state = 'pending'
		) as deliveries, (
			select count(*) filter (where disabled_at is null and failing_since is null) as endpoints_enabled,
			       count(*) filter (where disabled_at is null and failing_since is not null) as endpoints_failing,
			       count(disabled_at) as endpoints_disabled
			from klingwatch.webhook_endpoints
		) as endpoints, (
			select count(*) filter (where expires_at >= now()) as outputs_expiring,
			       count(*) filter (where expires_at < now()) as outputs_expired
			from klingwatch.outputs
			where expires_at >= now() - @expired::interval and expires_at < now() + @expiring::interval
		) as outputs, (
			select (select count(*) from klingwatch.outputs where archive_state = 'pending') as archive_waiting,
			       coalesce((select extract(epoch from now() - min(asked_at))::float8 from (`+fileJobs+`) as files), 0) as archive_oldest
		) as waiting, (
			select count(*) as archive_expiring
			from klingwatch.outputs o
			join klingwatch.tasks t on t.id = o.task
			where o.expires_at >= now() and o.expires_at < now() + @unsafe::interval
			  and o.archive_state in ('pending', 'lost')
			  and t.finished_at < now() - @settled::interval
		) as unsafe`,
		pgx.StrictNamedArgs{
			"overdue": limits.Overdue, "expiring": limits.Expiring, "expired": limits.Expired, "unsafe": unsafeWithin, "settled": settledAfter,
		})
	if err != nil {
		return f, fmt.Errorf("counting for the metrics: %w", err)
	}
	f.Tables, err = all[TableSize](ctx, q, `
		select relname as "table",
		       pg_total_relation_size(relid) as bytes,
		       n_dead_tup as dead
		from pg_stat_user_tables
		where schemaname = 'klingwatch'
		  and relname = any (@tables)`,
		pgx.StrictNamedArgs{"tables": []string{"tasks", "outputs", "events", "deliveries", "delivery_attempts", jobsTable}})
	if err != nil {
		return f, fmt.Errorf("reading the sizes of tables: %w", err)
	}
	return f, nil
}

// Backlog is how the open tasks are doing.
type Backlog struct {
	Open       int64
	Overdue    int64         // for longer than the grace: never polled, past the deadline, or with a job that waits for a worker
	Latest     int64         // tasks.id of the one that is overdue most; 0: none
	LatestBy   time.Duration // how long that one is
	Unattended int64         // without a job, or with the job of a process that is gone
}

// TaskBacklog counts the open tasks, and those of them that nobody polls although
// somebody should. deadline is the age at which a task expires that has no deadline of
// its own. It does not see the polls that a living process plans in its memory.
func TaskBacklog(ctx context.Context, q Querier, deadline, grace time.Duration) (Backlog, error) {
	return one[Backlog](ctx, q, `
		with`+liveInstances+`, task as (
			select t.id,
			       -- a Go duration holds 292 years, a deadline may be older
			       least(interval '100 years', now() - least(
			           coalesce(t.deadline_at, t.created_at + @deadline::interval),
			           case when t.status = 'pending' and t.polls = 0 then t.created_at end,
			           case when j.state <> 'running' then j.scheduled_at end)) as late,
			       j.id is null
			           or j.state = 'running' and j.instance not in (select name from instances) as unattended
			from klingwatch.tasks t
			left join klingwatch.live_jobs j on j.key = klingwatch.job_key('poll', t.id)
			where t.finished_at is null
		), overdue as (
			select id, late from task where late > @grace::interval
		)
		select count(*) as open,
		       (select count(*) from overdue) as overdue,
		       coalesce((select id from overdue order by late desc limit 1), 0) as latest,
		       coalesce((select max(late) from overdue), '0') as latest_by,
		       count(*) filter (where unattended) as unattended
		from task`,
		pgx.StrictNamedArgs{"class": instanceLock, "deadline": deadline, "grace": grace})
}

// DeliveryBacklog is how the pending deliveries are doing.
type DeliveryBacklog struct {
	Pending  int64
	Overdue  int64         // their next attempt was due longer than the grace ago
	Latest   int64         // deliveries.id of the one that is overdue most; 0: none
	LatestBy time.Duration // how long that one is
}

// OverdueDeliveries counts the pending deliveries, and those of them that nobody sends
// although somebody should.
func OverdueDeliveries(ctx context.Context, q Querier, grace time.Duration) (DeliveryBacklog, error) {
	return one[DeliveryBacklog](ctx, q, `
		with pending as (
			select id, now() - next_attempt_at as late from klingwatch.deliveries where state = 'pending'
		), overdue as (
			select id, late from pending where late > @grace::interval
		)
		select count(*) as pending,
		       (select count(*) from overdue) as overdue,
		       coalesce((select id from overdue order by late desc limit 1), 0) as latest,
		       coalesce((select max(late) from overdue), '0') as latest_by
		from pending`,
		pgx.StrictNamedArgs{"grace": grace})
}

// Happening is something that people watch: a change of a task, or a webhook request.
type Happening struct {
	Key        string // tells it from all others
	At         time.Time
	EventType  string // task.succeeded and so on
	Path       string // of the task; "": the event is about an endpoint
	TaskID     string // the provider's
	Message    string // why the task ended so, or why the request failed; "": there is nothing to say
	URL        string // of a webhook request; "": it is a change
	StatusCode int    // of the receiver's answer; 0: none came
}

// Happenings returns what happened after a moment of the database's clock, oldest first.
// It reads whole tables: it is for databases of one developer.
func Happenings(ctx context.Context, q Querier, after time.Time) ([]Happening, error) {
	return all[Happening](ctx, q, `
		with happened as (
			select e.id,
			       e.created_at,
			       e.type,
			       coalesce(concat_ws('/', t.action, nullif(t.action2, '')), '') as path,
			       coalesce(t.task_id, '') as task_id,
			       coalesce(e.payload->'data'->>'status_message', '') as message
			from klingwatch.events e
			left join klingwatch.tasks t on t.id = e.task
		)
		select 'event ' || id as key, created_at as at, type as event_type, path, task_id, message, '' as url, 0 as status_code
		from happened
		where created_at > @after
		union all
		select 'request ' || a.delivery || '/' || a.attempt, a.finished_at, h.type, h.path, h.task_id, coalesce(a.error, ''), d.url, coalesce(a.status_code, 0)
		from klingwatch.delivery_attempts a
		join klingwatch.deliveries d on d.id = a.delivery
		join happened h on h.id = d.event
		where a.finished_at > @after
		order by at, key`,
		pgx.StrictNamedArgs{"after": after})
}
