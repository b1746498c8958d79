package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Ping returns nil where the database answers, has our tables and accepts writes;
// ErrReadOnly where it is only the last that lacks.
func Ping(ctx context.Context, q Querier) error {
	var readOnly bool
	err := q.QueryRow(ctx, `
		select current_setting('transaction_read_only')::boolean
		where not exists (select from klingwatch.tasks limit 0)`).Scan(&readOnly)
	if err == nil && readOnly {
		err = ErrReadOnly
	}
	return err
}

// Clock returns the database's time now, also in the middle of a transaction.
func Clock(ctx context.Context, q Querier) (now time.Time, err error) {
	err = q.QueryRow(ctx, `select clock_timestamp()`).Scan(&now)
	return now, err
}

// SchemaStep returns the name of the migration that was applied last.
func SchemaStep(ctx context.Context, q Querier) (name string, err error) {
	err = q.QueryRow(ctx, `select name from klingwatch.migrations order by version desc limit 1`).Scan(&name)
	return name, err
}

// ThrowawayCluster is the cluster_name of a server whose data are thrown away at the end,
// which every role may see.
const ThrowawayCluster = "klingwatch-throwaway"

// Server is what an operator must know of a Postgres to run on it.
type Server struct {
	Database    string
	Size        int64  // of the database, bytes
	Version     string // like 17.2
	Major       int    // like 17
	Standby     bool   // read-only copy of another server
	ReadOnly    bool   // sessions of the role begin with transactions that may not write
	Autovacuum  bool
	Fsync       bool
	Throwaway   bool // it is named ThrowawayCluster
	Connections int  // that ordinary roles can have at once
	Others      int  // of them, in use by other programs than klingwatch
	SeesAll     bool // the role sees what the sessions of other roles do
}

// DescribeServer returns what the server is and how it is set up.
func DescribeServer(ctx context.Context, q Querier) (Server, error) {
	return one[Server](ctx, q, `
		select current_database()::text as database,
		       pg_database_size(current_database()) as size,
		       split_part(current_setting('server_version'), ' ', 1) as version,
		       current_setting('server_version_num')::int / 10000 as major,
		       pg_is_in_recovery() as standby,
		       -- whoever only looks has set it for the session
		       (select reset_val = 'on' from pg_settings where name = 'default_transaction_read_only') as read_only,
		       current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean as autovacuum,
		       current_setting('fsync')::boolean as fsync,
		       current_setting('cluster_name') = @throwaway as throwaway,
		       (select sum(case when name = 'max_connections' then setting::int else -setting::int end)::int
		        from pg_settings
		        where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')) as connections,
		       (select count(*)::int
		        from pg_stat_activity
		        where backend_type = 'client backend' and application_name not like 'klingwatch%') as others,
		       pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all`,
		pgx.StrictNamedArgs{"throwaway": ThrowawayCluster})
}

// TableHealth is how well vacuum keeps up with a table.
type TableHealth struct {
	Name     string
	Size     int64          // with its indexes, bytes
	Live     int64          // rows, estimated
	Dead     int64          // row versions that vacuum has not removed yet, estimated
	Vacuumed *time.Duration // how long ago; nil: never
}

// BusyTables returns the health of the tables that are written all the time, the
// queue first.
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

// InvalidIndexes returns the names of our indexes, and River's, that a build which was
// cut off has left, like those that end with _ccnew. One that is being built is left out.
func InvalidIndexes(ctx context.Context, q Querier) (names []string, err error) {
	err = q.QueryRow(ctx, `
		select coalesce(array_agg(format('%I.%I', n.nspname, c.relname) order by c.relname), '{}')
		from pg_index i
		join pg_class c on c.oid = i.indexrelid
		join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'klingwatch' and not i.indisvalid
		  and not exists (select from pg_stat_progress_create_index p where p.relid = i.indrelid)`).Scan(&names)
	return names, err
}

// NotesQueue returns which part of the server's queue of notes is used. When it is full, no
// transaction can commit that sends one, and inserts of tasks do.
func NotesQueue(ctx context.Context, q Querier) (used float64, err error) {
	err = q.QueryRow(ctx, `select pg_notification_queue_usage()`).Scan(&used)
	return used, err
}

// Snapshot is something that keeps vacuum from removing dead rows.
type Snapshot struct {
	Holder       string         // what holds it, for people to read
	Held         *time.Duration // for how long; nil: unknown
	Transactions int64          // that have begun since
}

// OldestSnapshot returns the one that holds vacuum back most. It returns ErrNotFound
// where there is none. A role that does not see the sessions of other roles misses
// theirs.
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

// MissingRoles returns those of our three roles that the server lacks.
func MissingRoles(ctx context.Context, q Querier) (missing []string, err error) {
	err = q.QueryRow(ctx, `
		select coalesce(array_agg(name), '{}')
		from unnest(array['klingwatch_producer', 'klingwatch_reader', 'klingwatch_operator']) as name
		where not exists (select from pg_roles where rolname = name)`).Scan(&missing)
	return missing, err
}

// RolesWithoutTimeouts returns the roles that are made to read and could keep a snapshot
// open for ever: klingwatch.grant_roles() gives them timeouts.
func RolesWithoutTimeouts(ctx context.Context, q Querier) ([]string, error) {
	rows, err := q.Query(ctx, `select role::text from klingwatch.roles_without_timeouts() as role`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// MayRead reports whether the role of the session may read a table or view of ours.
func MayRead(ctx context.Context, q Querier, relation string) (may bool, err error) {
	err = q.QueryRow(ctx, `select has_table_privilege('klingwatch.' || quote_ident(@relation), 'select')`, pgx.StrictNamedArgs{"relation": relation}).Scan(&may)
	return may, err
}

// MayBeginBulk reports whether the role of the session may begin a bulk action.
func MayBeginBulk(ctx context.Context, q Querier) (may bool, err error) {
	err = q.QueryRow(ctx, `select has_any_column_privilege('klingwatch.bulk_actions', 'insert')`).Scan(&may)
	return may, err
}

// SeesAll reports whether the role of the session meets the tasks of all apps, as one to
// which no policy of klingwatch.tasks applies.
func SeesAll(ctx context.Context, q Querier) (all bool, err error) {
	err = q.QueryRow(ctx, `select not row_security_active('klingwatch.tasks')`).Scan(&all)
	return all, err
}

// RoleExists reports whether the server has a role of that name.
func RoleExists(ctx context.Context, q Querier, name string) (exists bool, err error) {
	err = q.QueryRow(ctx, `select exists (select from pg_roles where rolname = @name)`, pgx.StrictNamedArgs{"name": name}).Scan(&exists)
	return exists, err
}
