package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What the servers are told and asked; klingwatch itself has no use for it.

// The roles of a deployment whose owner may do as little as possible.
const (
	databaseName = "klingwatch"
	ownerRole    = "chaos_owner" // of the database and of klingwatch's schema
	appRole      = "chaos_app"   // a backend app: a member of klingwatch_producer
	crowdRole    = "chaos_crowd" // takes connections
)

// apply runs statements one after the other.
func apply(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%w in %q", err, statement)
		}
	}
	return nil
}

// createRoles makes the roles, and the database the owner's.
func createRoles(ctx context.Context, conn *pgx.Conn, password string) error {
	return apply(ctx, conn,
		`create role klingwatch_producer nologin`, `create role klingwatch_operator nologin`, `create role klingwatch_reader nologin`,
		`create role `+ownerRole+` login password '`+password+`'`,
		`create role `+appRole+` login password '`+password+`' in role klingwatch_producer`,
		`create role `+crowdRole+` login password '`+password+`'`,
		`alter database `+databaseName+` owner to `+ownerRole,
	)
}

// setReadOnly makes read-only the default of the whole server, also for the
// sessions that are open.
func setReadOnly(ctx context.Context, conn *pgx.Conn, on bool) error {
	statement := `alter system reset default_transaction_read_only`
	if on {
		statement = `alter system set default_transaction_read_only = on`
	}
	return apply(ctx, conn, statement, `select pg_reload_conf()`)
}

// setDatabaseReadOnly makes read-only the default of new sessions.
func setDatabaseReadOnly(ctx context.Context, conn *pgx.Conn, on bool) error {
	statement := `alter database ` + databaseName + ` reset default_transaction_read_only`
	if on {
		statement = `alter database ` + databaseName + ` set default_transaction_read_only = on`
	}
	return apply(ctx, conn, statement)
}

// endSessions ends what klingwatch and the apps have open.
func endSessions(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where usename = any ($1)`, []string{ownerRole, appRole})
	return err
}

// now is the time by the server's clock.
func (s *server) now(ctx context.Context) (now time.Time, err error) {
	err = s.asAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `select clock_timestamp()`).Scan(&now)
	})
	return now, err
}

// writing counts the transactions that have written something and are not over.
func writing(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	err = conn.QueryRow(ctx, `select count(*) from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()`).Scan(&n)
	return n, err
}

// startsReadOnly reports whether this session began as a read-only one.
func startsReadOnly(ctx context.Context, conn *pgx.Conn) (yes bool, err error) {
	err = conn.QueryRow(ctx, `select current_setting('default_transaction_read_only') = 'on'`).Scan(&yes)
	return yes, err
}

// walEnd is the end of what the primary has written.
func walEnd(ctx context.Context, conn *pgx.Conn) (lsn string, err error) {
	err = conn.QueryRow(ctx, `select pg_current_wal_lsn()::text`).Scan(&lsn)
	return lsn, err
}

// hasReplayed reports whether a standby has everything up to a place in the log.
func hasReplayed(ctx context.Context, conn *pgx.Conn, lsn string) (yes bool, err error) {
	err = conn.QueryRow(ctx, `select coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)`, lsn).Scan(&yes)
	return yes, err
}

// stopReceiving makes a standby lag: it gets no more of the log.
func stopReceiving(ctx context.Context, conn *pgx.Conn) error {
	return apply(ctx, conn, `alter system set primary_conninfo = ''`, `select pg_reload_conf()`)
}

// isReceiving reports whether a standby gets the log.
func isReceiving(ctx context.Context, conn *pgx.Conn) (yes bool, err error) {
	err = conn.QueryRow(ctx, `select exists (select from pg_stat_wal_receiver where status = 'streaming')`).Scan(&yes)
	return yes, err
}

// promote makes a standby a primary.
func promote(ctx context.Context, conn *pgx.Conn) error {
	var promoted bool
	if err := conn.QueryRow(ctx, `select pg_promote(true, 30)`).Scan(&promoted); err != nil || !promoted {
		return fmt.Errorf("promoting the standby: %v, %w", promoted, err)
	}
	return nil
}

// programsDir is where the programs of the server are.
func programsDir(ctx context.Context, conn *pgx.Conn) (dir string, err error) {
	err = conn.QueryRow(ctx, `select setting from pg_config where name = 'BINDIR'`).Scan(&dir)
	return dir, err
}

// insertOrders inserts a batch as a backend app does, in one transaction. What is
// there already stays.
func insertOrders(ctx context.Context, conn *pgx.Conn, batch []order, callbackURL string) error {
	var ids, actions, actions2 []string
	var callbacks []*string
	for _, o := range batch {
		ids, actions, actions2 = append(ids, o.id), append(actions, o.script.action), append(actions2, o.script.action2)
		var callback *string
		if o.callback {
			callback = &callbackURL
		}
		callbacks = append(callbacks, callback)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into klingwatch.tasks (task_id, action, action2, callback_url)
			select * from unnest($1::text[], $2::text[], $3::text[], $4::text[])
			on conflict do nothing`, ids, actions, actions2, callbacks)
		return err
	})
}

// taskIDs are the tasks that are there.
func taskIDs(ctx context.Context, conn *pgx.Conn) (map[string]bool, error) {
	rows, err := conn.Query(ctx, `select task_id from klingwatch.tasks`)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	there := make(map[string]bool, len(ids))
	for _, id := range ids {
		there[id] = true
	}
	return there, err
}

// endlessTask is our id of an open task that never ends by itself, 0 where there is
// none.
func endlessTask(ctx context.Context, conn *pgx.Conn) (id int64, err error) {
	err = conn.QueryRow(ctx, `select coalesce(min(id), 0) from klingwatch.tasks where finished_at is null and task_id like 'never-%'`).Scan(&id)
	return id, err
}

// taskFact is a task as it is in the end.
type taskFact struct {
	TaskID    string
	Status    string
	LastError *string
	Events    int
	Terminals int // events that end it
	First     int // sequence
	Last      int
}

func readTasks(ctx context.Context, conn *pgx.Conn) ([]taskFact, error) {
	rows, err := conn.Query(ctx, `
		select t.task_id, t.status, t.last_error, count(e.id) as events,
		       count(e.id) filter (where e.type in ('task.succeeded', 'task.failed', 'task.expired', 'task.not_found', 'task.canceled')) as terminals,
		       coalesce(min(e.sequence), 0) as first, coalesce(max(e.sequence), 0) as last
		from klingwatch.tasks t
		left join klingwatch.events e on e.task = t.id
		group by t.id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[taskFact])
}

// deliveryFact is a delivery that has not arrived.
type deliveryFact struct {
	TaskID    string
	Type      string
	State     string
	LastError *string
	DueIn     *time.Duration
}

func readUndelivered(ctx context.Context, conn *pgx.Conn) ([]deliveryFact, error) {
	rows, err := conn.Query(ctx, `
		select coalesce(t.task_id, '') as task_id, e.type, d.state, d.last_error, d.next_attempt_at - now() as due_in
		from klingwatch.deliveries d
		join klingwatch.events e on e.id = d.event
		left join klingwatch.tasks t on t.id = e.task
		where d.state <> 'delivered'
		order by d.id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[deliveryFact])
}

func countDeliveries(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	err = conn.QueryRow(ctx, `select count(*) from klingwatch.deliveries`).Scan(&n)
	return n, err
}

// instanceClass is the first half of the advisory lock key that shows that a process
// of klingwatch is alive; the second half is its number.
const instanceClass = 0x6b6c6e67

// readLimbo lists what nobody works on, and nobody is going to.
func readLimbo(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `
		select format('task %s is %s and has no job', t.task_id, t.status)
		from klingwatch.tasks t
		where t.finished_at is null and not exists (select from klingwatch.live_jobs j where j.key = klingwatch.job_key('poll', t.id))
		union all
		select format('delivery %s is pending and has no job', d.id)
		from klingwatch.deliveries d
		where d.state = 'pending' and not exists (select from klingwatch.live_jobs j where j.key = klingwatch.job_key('deliver', d.id))
		union all
		select format('job %s (%s) runs in %s, which is gone', j.id, convert_from(j.key, 'utf8'), j.instance)
		from klingwatch.live_jobs j
		where j.state = 'running' and j.instance not in (
			select 'kw' || objid
			from pg_locks
			where locktype = 'advisory' and classid = $1 and objsubid = 2 and granted
			  and database = (select oid from pg_database where datname = current_database()))
		union all
		select format('polling is paused: %s', reason)
		from klingwatch.polling_pauses`, instanceClass)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// openWork counts what is still to come: tasks that have not ended, deliveries that
// have not arrived.
func openWork(ctx context.Context, conn *pgx.Conn) (tasks, deliveries int, err error) {
	err = conn.QueryRow(ctx, `
		select (select count(*) from klingwatch.tasks where finished_at is null), (select count(*) from klingwatch.deliveries where state = 'pending')`).
		Scan(&tasks, &deliveries)
	return tasks, deliveries, err
}

// staying counts the sessions of klingwatch on a server.
func staying(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	err = conn.QueryRow(ctx, `select count(*) from pg_stat_activity where usename = $1`, ownerRole).Scan(&n)
	return n, err
}
