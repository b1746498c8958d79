package db

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// OpenReadOnly is Open for those who only look: the server refuses to write for
// them, and ends a query that takes longer than limit.
func OpenReadOnly(ctx context.Context, url string, maxConns int32, limit time.Duration) (*pgxpool.Pool, error) {
	return open(ctx, url, maxConns, map[string]string{
		"default_transaction_read_only": "on",
		"statement_timeout":             strconv.FormatInt(limit.Milliseconds(), 10),
	})
}

// Clock returns the database's time at this very moment.
func Clock(ctx context.Context, q Querier) (now time.Time, err error) {
	err = q.QueryRow(ctx, `select clock_timestamp()`).Scan(&now)
	return now, err
}

// Server is what must be known of a Postgres to run on it.
type Server struct {
	Database      string
	Size          int64  // of the database, bytes
	Version       string // 17.2
	Major         int
	Standby       bool // read-only copy of another server
	Autovacuum    bool
	Fsync         bool
	DataDirectory string // "" where the role may not see it
	Connections   int    // that ordinary roles can have at once
	Others        int    // of them, in use by other programs
	SeesAll       bool   // the role sees what other roles' sessions do
}

// DescribeServer returns what the server is and how it is set up.
func DescribeServer(ctx context.Context, q Querier) (Server, error) {
	return one[Server](ctx, q, `
		with setting as (
			select name, setting from pg_settings
		)
		select current_database()::text as database,
		       pg_database_size(current_database()) as size,
		       split_part(current_setting('server_version'), ' ', 1) as version,
		       current_setting('server_version_num')::int / 10000 as major,
		       pg_is_in_recovery() as standby,
		       current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean as autovacuum,
		       current_setting('fsync')::boolean as fsync,
		       coalesce((select setting from setting where name = 'data_directory'), '') as data_directory,
		       (select sum(case when name = 'max_connections' then setting::int else -setting::int end)::int
		        from setting
		        where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')) as connections,
		       (select count(*)::int
		        from pg_stat_activity
		        where backend_type = 'client backend' and application_name not like 'klingwatch%') as others,
		       pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all`)
}

// TableHealth is how a table fares with vacuum.
type TableHealth struct {
	Name     string
	Size     int64          // with its indexes, bytes
	Live     int64          // rows, estimated
	Dead     int64          // row versions that vacuum has not removed yet, estimated
	Vacuumed *time.Duration // ago; nil: never
}

// BusyTables returns the health of the tables that are written all the time.
func BusyTables(ctx context.Context, q Querier) ([]TableHealth, error) {
	return all[TableHealth](ctx, q, `
		select relname::text as name,
		       pg_total_relation_size(relid) as size,
		       n_live_tup as live,
		       n_dead_tup as dead,
		       clock_timestamp() - greatest(last_autovacuum, last_vacuum) as vacuumed
		from pg_stat_user_tables
		where schemaname = 'klingwatch' and relname = any (@tables)
		order by array_position(@tables::text[], relname::text)`,
		pgx.StrictNamedArgs{"tables": []string{jobsTable, "tasks", "events", "deliveries"}})
}

// Snapshot is what keeps vacuum from removing dead rows.
type Snapshot struct {
	Holder       string         // who, for people
	Held         *time.Duration // for how long; nil where nobody knows
	Transactions int64          // begun since
}

// OldestSnapshot returns the one that holds vacuum back most; ErrNotFound when
// there is none. A role that does not see other roles' sessions misses theirs.
func OldestSnapshot(ctx context.Context, q Querier) (Snapshot, error) {
	return one[Snapshot](ctx, q, `
		with snapshot as (
			select format('session %s of %s (%s), %s', pid, usename, coalesce(nullif(application_name, ''), 'no name'), coalesce(state, backend_type)) as holder,
			       clock_timestamp() - xact_start as held,
			       greatest(age(backend_xmin), age(backend_xid)) as transactions
			from pg_stat_activity
			-- a walsender speaks for a standby, whatever the database
			where pid <> pg_backend_pid() and (datname = current_database() or backend_type = 'walsender') and backend_type <> 'autovacuum worker'
			union all
			select format('prepared transaction %s of %s', gid, owner), clock_timestamp() - prepared, age(transaction)
			from pg_prepared_xacts
			where database = current_database()
			union all
			select format('replication slot %s', slot_name), null, age(xmin)
			from pg_replication_slots
		)
		select holder,
		       held,
		       transactions::bigint as transactions
		from snapshot
		where transactions is not null
		order by snapshot.transactions desc, held desc nulls last
		limit 1`)
}

// Backlog is how the open tasks fare.
type Backlog struct {
	Open       int64
	Overdue    int64         // for longer than the grace never asked, past the deadline, or with a job that waits for a worker
	Latest     int64         // the one that is overdue most; 0: none
	LatestBy   time.Duration // how long
	Unattended int64         // without a job, or with the job of a process that is gone
}

// TaskBacklog counts open tasks that nobody asks about although somebody should;
// deadline applies to tasks that have none of their own. The times of polls that
// a living process plans are in its memory and not seen here.
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

// DeliveryBacklog is how the webhooks that have not arrived yet fare.
type DeliveryBacklog struct {
	Pending  int64
	Overdue  int64         // their next attempt was due longer than the grace ago
	Latest   int64         // the one that is overdue most; 0: none
	LatestBy time.Duration // how long
}

// OverdueDeliveries counts the pending deliveries, and those that nobody sends
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

// Expiring are the files that the provider clears soon.
type Expiring struct {
	Outputs int64
	Tasks   int64
	First   *time.Time // nil: there are none
}

// ExpiringOutputs counts the files that the provider clears within a time.
func ExpiringOutputs(ctx context.Context, q Querier, within time.Duration) (Expiring, error) {
	return one[Expiring](ctx, q, `
		select count(*) as outputs,
		       count(distinct task) as tasks,
		       min(expires_at) as first
		from klingwatch.outputs
		where expires_at between now() and now() + @within::interval`,
		pgx.StrictNamedArgs{"within": within})
}
