package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// The query text of the measurements is in klingbench, not in db, because
// klingwatch itself has no use for it.

// CheckNumbers returns an error unless the database has n tasks and the id of
// each is the number in its name.
func (d *Database) CheckNumbers(ctx context.Context, n int) error {
	var good int
	err := d.QueryRow(ctx, `select count(*) from klingwatch.tasks where task_id = $1 || id`, standin.TaskPrefix).Scan(&good)
	if err == nil && good != n {
		err = fmt.Errorf("numbering the tasks: only %d of %d have their number as id", good, n)
	}
	return err
}

// Checkpoint gives every measurement the same time until the next automatic checkpoint.
func (d *Database) Checkpoint(ctx context.Context) error {
	if _, err := d.Exec(ctx, `checkpoint`); err != nil {
		return fmt.Errorf("making a checkpoint: %w", err)
	}
	return nil
}

// walPosition is how much write-ahead log the server has made, in bytes since
// some beginning; it is up to date where the counters of pg_stat_wal lag.
func walPosition(ctx context.Context, pool *pgxpool.Pool) (bytes int64, err error) {
	err = pool.QueryRow(ctx, `select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint`).Scan(&bytes)
	return bytes, err
}

// serverFacts returns the version of the server and the process id of one of its
// backends.
func serverFacts(ctx context.Context, pool *pgxpool.Pool) (version string, backend int, err error) {
	err = pool.QueryRow(ctx, `select split_part(current_setting('server_version'), ' ', 1), pg_backend_pid()`).Scan(&version, &backend)
	return version, backend, err
}

func databaseExists(ctx context.Context, pool *pgxpool.Pool, name string) (exists bool, err error) {
	err = pool.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, name).Scan(&exists)
	return exists, err
}

// alone calls work while no other session of the server does so.
func alone(ctx context.Context, pool *pgxpool.Pool, work func() error) error {
	return pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		if _, err := conn.Exec(ctx, `select pg_advisory_lock(hashtext('klingbench'))`); err != nil {
			return err
		}
		err := work()
		_, failed := conn.Exec(ctx, `select pg_advisory_unlock(hashtext('klingbench'))`)
		return errors.Join(err, failed)
	})
}

func createDatabase(ctx context.Context, pool *pgxpool.Pool, name, template string) error {
	_, err := pool.Exec(ctx, `create database `+pgx.Identifier{name}.Sanitize()+` template `+template)
	return err
}

func renameDatabase(ctx context.Context, pool *pgxpool.Pool, from, to string) error {
	_, err := pool.Exec(ctx, `alter database `+pgx.Identifier{from}.Sanitize()+` rename to `+pgx.Identifier{to}.Sanitize())
	return err
}

func dropDatabase(ctx context.Context, pool *pgxpool.Pool, name string) error {
	_, err := pool.Exec(ctx, `drop database `+pgx.Identifier{name}.Sanitize()+` with (force)`)
	return err
}
