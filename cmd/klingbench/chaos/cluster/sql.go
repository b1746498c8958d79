package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What the servers are told and asked; klingwatch itself has no use for it.

// The roles of a deployment whose owner may do as little as possible.
const (
	Owner = "chaos_owner" // of the database and of klingwatch's schema
	App   = "chaos_app"   // a backend app: a member of klingwatch_producer
	Crowd = "chaos_crowd" // takes connections

	databaseName = "klingwatch"
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
		`create role `+Owner+` login password '`+password+`'`,
		`create role `+App+` login password '`+password+`' in role klingwatch_producer`,
		`create role `+Crowd+` login password '`+password+`'`,
		`alter database `+databaseName+` owner to `+Owner,
	)
}

// SetReadOnly makes read-only the default of the whole server, also for the
// sessions that are open.
func SetReadOnly(ctx context.Context, conn *pgx.Conn, on bool) error {
	statement := `alter system reset default_transaction_read_only`
	if on {
		statement = `alter system set default_transaction_read_only = on`
	}
	return apply(ctx, conn, statement, `select pg_reload_conf()`)
}

// SetDatabaseReadOnly makes read-only the default of new sessions.
func SetDatabaseReadOnly(ctx context.Context, conn *pgx.Conn, on bool) error {
	statement := `alter database ` + databaseName + ` reset default_transaction_read_only`
	if on {
		statement = `alter database ` + databaseName + ` set default_transaction_read_only = on`
	}
	return apply(ctx, conn, statement)
}

// EndSessions ends what klingwatch and the apps have open.
func EndSessions(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where usename = any ($1)`, []string{Owner, App})
	return err
}

// clockOf is the time by the server's clock.
func clockOf(ctx context.Context, conn *pgx.Conn) (now time.Time, err error) {
	err = conn.QueryRow(ctx, `select clock_timestamp()`).Scan(&now)
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

// Staying counts the sessions of klingwatch on a server.
func Staying(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	err = conn.QueryRow(ctx, `select count(*) from pg_stat_activity where usename = $1`, Owner).Scan(&n)
	return n, err
}
