package migrations

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Schema holds all tables, ours and River's.
const Schema = "klingwatch"

// LockKey is the advisory lock held while migrating: "klwmig" in ASCII.
const LockKey int64 = 0x6b6c776d6967

const (
	// migrationWait is how long another process that migrates is waited for; lockLook is
	// how often it is looked whether it has.
	migrationWait = time.Minute
	lockLook      = 100 * time.Millisecond
	// tellAfter is when somebody is told who is waited for.
	tellAfter = 3 * time.Second
)

// releaseTimeout bounds giving the lock back when the caller's context has ended.
const releaseTimeout = 5 * time.Second

// ErrNewerDatabase says that the database was migrated by a newer klingwatch
// (or River) than this binary.
var ErrNewerDatabase = errors.New("the database is newer than this binary: install the newer klingwatch")

// riverPrefix begins the names of River's steps.
const riverPrefix = "river "

// Migration is one step, already applied or pending.
type Migration struct {
	Version int    // from 1, without gaps; River's steps are counted apart
	Name    string // file name without .sql, or "river N"
}

// Names joins the names of migrations for people, River's as one.
func Names(list []Migration) string {
	var names []string
	river := false
	for _, m := range list {
		switch {
		case !strings.HasPrefix(m.Name, riverPrefix):
			names = append(names, m.Name)
		case !river:
			river = true
			names = append(names, "river's tables")
		}
	}
	return strings.Join(names, ", ")
}

// Up applies what is pending and returns it, in order. It returns
// ErrNewerDatabase for a database that this binary does not know. It needs one
// connection of the pool, and opens its own for River's tables; several processes
// may call it at once.
func Up(ctx context.Context, pool *pgxpool.Pool) (applied []Migration, err error) {
	return UpTelling(ctx, pool, func(string) {})
}

// UpTelling is Up that tells a person when it waits for another session. Where nothing
// is pending it waits for nobody.
func UpTelling(ctx context.Context, pool *pgxpool.Pool, tell func(message string)) (applied []Migration, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	defer conn.Release()
	if pending, err := Pending(ctx, conn); err != nil || len(pending) == 0 {
		return nil, err
	}
	if err := lock(ctx, conn, tell); err != nil {
		return nil, fmt.Errorf("waiting for the migration lock: %w", err)
	}
	defer unlock(ctx, conn)

	pending, err := Pending(ctx, conn)
	if err != nil || len(pending) == 0 {
		return nil, err
	}
	steps, err := ours()
	if err == nil {
		err = apply(ctx, pool, conn.Conn(), steps)
	}
	if err != nil {
		return nil, err
	}
	return pending, nil
}

// UpTo brings an empty database to River's tables and the first steps of ours, as a
// version did that had no more: what is newer is compared with it.
func UpTo(ctx context.Context, pool *pgxpool.Pool, last int) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	steps, err := ours()
	if err != nil {
		return err
	}
	return apply(ctx, pool, conn.Conn(), steps[:last])
}

// apply brings River's tables, and of our steps those that are missing.
func apply(ctx context.Context, pool *pgxpool.Pool, conn *pgx.Conn, steps []step) error {
	if err := createSchema(ctx, conn); err != nil {
		return err
	}
	if err := applyRivers(ctx, pool); err != nil {
		return err
	}
	return applyOurs(ctx, conn, steps)
}

// Querier is a pool, a connection or a transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Pending returns the steps that Up would apply, River's first. It only reads.
// It returns ErrNewerDatabase for a database that this binary does not know.
func Pending(ctx context.Context, q Querier) ([]Migration, error) {
	steps, err := ours()
	if err != nil {
		return nil, err
	}
	appliedOurs, err := version(ctx, q, "migrations")
	if err != nil {
		return nil, err
	}
	pending, err := pendingRivers(ctx, q)
	if err != nil {
		return nil, err
	}
	if appliedOurs > len(steps) {
		return nil, ErrNewerDatabase
	}
	for _, s := range steps[appliedOurs:] {
		pending = append(pending, s.Migration)
	}
	return pending, nil
}

// pendingRivers is Pending for River's steps. A role that may not read River's tables has
// no use for them either: for it none is pending.
func pendingRivers(ctx context.Context, q Querier) (pending []Migration, err error) {
	const table = "river_migration"
	var hidden bool
	if err := q.QueryRow(ctx, `select coalesce(not has_table_privilege(to_regclass($1), 'select'), false)`,
		pgx.Identifier{Schema, table}.Sanitize()).Scan(&hidden); err != nil || hidden {
		return nil, err
	}
	applied, err := version(ctx, q, table)
	if err != nil {
		return nil, err
	}
	river, err := riverMigrator(nil)
	if err != nil {
		return nil, err
	}
	newest := 0
	for _, m := range river.AllVersions() {
		newest = max(newest, m.Version)
		if m.Version > applied {
			pending = append(pending, Migration{Version: m.Version, Name: riverPrefix + strconv.Itoa(m.Version)})
		}
	}
	if applied > newest {
		return nil, ErrNewerDatabase
	}
	return pending, nil
}

// version returns the newest applied version in a table of the schema, 0 when
// the table is not there yet.
func version(ctx context.Context, q Querier, table string) (int, error) {
	name := pgx.Identifier{Schema, table}.Sanitize()
	var exists bool
	if err := q.QueryRow(ctx, `select to_regclass($1) is not null`, name).Scan(&exists); err != nil {
		return 0, fmt.Errorf("reading the database's version: %w", err)
	}
	if !exists {
		return 0, nil
	}
	var v int
	if err := q.QueryRow(ctx, `select coalesce(max(version), 0) from `+name).Scan(&v); err != nil {
		return 0, fmt.Errorf("reading the database's version: %w", err)
	}
	return v, nil
}

// createSchema looks first: "if not exists" asks for rights on the database
// even when the schema is there.
func createSchema(ctx context.Context, conn *pgx.Conn) error {
	var exists bool
	err := conn.QueryRow(ctx, `select exists (select from pg_namespace where nspname = $1)`, Schema).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, `create schema `+Schema)
	}
	if err == nil {
		_, err = conn.Exec(ctx, `
			create table if not exists klingwatch.migrations (
				version    int primary key,
				name       text not null,
				applied_at timestamptz not null default now()
			);
			comment on table klingwatch.migrations is 'Steps of klingwatch''s own schema that were applied here.';
			comment on column klingwatch.migrations.version is 'number of the step, from 1';
			comment on column klingwatch.migrations.name is 'file name without .sql';
			comment on column klingwatch.migrations.applied_at is 'when it was applied'`)
	}
	if err != nil {
		return fmt.Errorf("creating the schema %s: %w", Schema, err)
	}
	return nil
}

// lock waits until nobody else migrates. It asks again and again: a session that waits
// in one statement keeps a snapshot, and "create index concurrently" waits for that.
func lock(ctx context.Context, conn *pgxpool.Conn, tell func(message string)) error {
	told := false
	for begun := time.Now(); ; {
		var got bool
		if err := conn.QueryRow(ctx, `select pg_try_advisory_lock($1)`, LockKey).Scan(&got); err != nil || got {
			return err
		}
		if time.Since(begun) > migrationWait {
			return fmt.Errorf("%s has held it for %s: wait until it has migrated, or end it with pg_terminate_backend, and try again", lockHolder(ctx, conn), migrationWait)
		}
		if !told && time.Since(begun) > tellAfter {
			told = true
			tell(fmt.Sprintf("waiting for the migration lock: %s holds it", lockHolder(ctx, conn)))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockLook):
		}
	}
}

// lockHolder names the session that holds the lock.
func lockHolder(ctx context.Context, conn *pgxpool.Conn) string {
	var pid int
	var role, application string
	err := conn.QueryRow(ctx, `
		select l.pid, coalesce(a.usename, ''), coalesce(a.application_name, '')
		from pg_locks l
		left join pg_stat_activity a using (pid)
		where l.locktype = 'advisory' and l.granted and l.objsubid = 1
		  and l.classid = ($1::bigint >> 32)::int::oid and l.objid = ($1::bigint & 4294967295)::oid
		  and l.database = (select oid from pg_database where datname = current_database())`, LockKey).Scan(&pid, &role, &application)
	if err != nil {
		return "another session"
	}
	return fmt.Sprintf("the session with pid %d of role %q, application %q,", pid, role, application)
}

// unlock gives the lock back also when the caller's context has ended; where
// that fails the connection is closed, which frees the lock as well.
func unlock(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if _, err := conn.Exec(ctx, `select pg_advisory_unlock($1)`, LockKey); err != nil {
		_ = conn.Conn().Close(ctx)
	}
}
