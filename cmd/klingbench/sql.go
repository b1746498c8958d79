package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The query text of the measurements is in this file and sql_webhook.go only. It
// is not in db because klingwatch itself has no use for it.

// copyAllTasks inserts tasks 1 to n.
func copyAllTasks(ctx context.Context, pool *pgxpool.Pool, n int) error {
	return copyTasks(ctx, pool, "tasks", 1, n)
}

// copyTasks inserts tasks first to last, which get these numbers as ids in a
// database that had none: COPY, as an app with many tasks would.
func copyTasks(ctx context.Context, pool *pgxpool.Pool, table string, first, last int) error {
	next := first
	_, err := pool.CopyFrom(ctx, pgx.Identifier{"klingwatch", table}, []string{"task_id", "action", "action2"},
		pgx.CopyFromFunc(func() ([]any, error) {
			if next > last {
				return nil, nil
			}
			next++
			return []any{taskID(next - 1), action, action2}, nil
		}))
	if err != nil {
		return fmt.Errorf("inserting tasks %d to %d into %s: %w", first, last, table, err)
	}
	return nil
}

// checkNumbers makes sure that the id of a task is the number in its name, as
// lateness is joined by it.
func checkNumbers(ctx context.Context, pool *pgxpool.Pool, tasks int) error {
	var good int
	err := pool.QueryRow(ctx, `select count(*) from klingwatch.tasks where task_id = $1 || id`, taskPrefix).Scan(&good)
	if err == nil && good != tasks {
		err = fmt.Errorf("%d of %d tasks have the id of their number", good, tasks)
	}
	return err
}

// commitTask inserts one task and returns the moment just before its commit was sent.
func commitTask(ctx context.Context, pool *pgxpool.Pool, number int, callback string) (committing time.Time, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2, callback_url) values ($1, $2, $3, $4)`,
			taskID(number), action, action2, callback)
		committing = time.Now()
		return err
	})
	if err != nil {
		return committing, fmt.Errorf("inserting task %d: %w", number, err)
	}
	return committing, nil
}

// insertTask inserts one task in a transaction of its own.
func insertTask(ctx context.Context, conn *pgxpool.Conn, number int) error {
	_, err := conn.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2) values ($1, $2, $3)`,
		taskID(number), action, action2)
	if err != nil {
		return fmt.Errorf("inserting task %d: %w", number, err)
	}
	return nil
}

// anyOpen tells whether a task has not ended.
func anyOpen(ctx context.Context, pool *pgxpool.Pool) (open bool, err error) {
	err = pool.QueryRow(ctx, `select exists (select from klingwatch.tasks where status in ('pending', 'submitted', 'processing'))`).Scan(&open)
	return open, err
}

// jobsHeld counts the running poll jobs of the first instance.
func jobsHeld(ctx context.Context, pool *pgxpool.Pool) (held int, err error) {
	err = pool.QueryRow(ctx, `
		select count(*)
		from klingwatch.river_job
		where state = 'running' and kind = 'poll' and attempted_by[array_upper(attempted_by, 1)] = 'kw1'`).Scan(&held)
	return held, err
}

// createBareTables makes the two tables that COPY into tasks is compared with:
// bare has its columns only, untriggered has its checks and indexes, too.
func createBareTables(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `
		create table klingwatch.bare (like klingwatch.tasks including defaults including identity including storage);
		create table klingwatch.untriggered (like klingwatch.tasks including all)`)
	return err
}

// emptyTables makes room for the next bulk insert.
func emptyTables(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `
		truncate klingwatch.tasks, klingwatch.bare, klingwatch.untriggered, klingwatch.river_job restart identity cascade`)
	return err
}

// prepareNaive makes the table of the naive service and gives each of its
// tasks a River job.
func prepareNaive(ctx context.Context, pool *pgxpool.Pool, tasks int) error {
	if _, err := pool.Exec(ctx, `create table klingwatch.naive (id bigint primary key, status text not null, result jsonb)`); err != nil {
		return err
	}
	// River as it comes: klingwatch's migrations drop these
	for _, index := range []string{"btree (kind)", "gin (args)", "gin (metadata)"} {
		if _, err := pool.Exec(ctx, `create index on klingwatch.river_job using `+index); err != nil {
			return err
		}
	}
	_, err := pool.Exec(ctx, `insert into klingwatch.naive (id, status) select n, 'pending' from generate_series(1, $1::int) n`, tasks)
	if err == nil {
		_, err = pool.Exec(ctx, `
			insert into klingwatch.river_job (kind, queue, args, max_attempts)
			select 'naive', 'naive', jsonb_build_object('id', n), 25 from generate_series(1, $1::int) n`, tasks)
	}
	return err
}

// anyOpenNaive tells whether a task of the naive service has not ended.
func anyOpenNaive(ctx context.Context, pool *pgxpool.Pool) (open bool, err error) {
	err = pool.QueryRow(ctx, `select exists (select from klingwatch.naive where status = 'pending')`).Scan(&open)
	return open, err
}

// finishNaive writes the result of a task of the naive service.
func finishNaive(ctx context.Context, pool *pgxpool.Pool, id int64, result []byte) error {
	_, err := pool.Exec(ctx, `update klingwatch.naive set status = 'succeeded', result = $2 where id = $1`, id, result)
	return err
}

// walPosition is how much write-ahead log the server has made, in bytes since
// some beginning; it is up to date where the counters of pg_stat_wal lag.
func walPosition(ctx context.Context, pool *pgxpool.Pool) (bytes int64, err error) {
	err = pool.QueryRow(ctx, `select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint`).Scan(&bytes)
	return bytes, err
}

// serverVersion and the process id of a backend of the server.
func serverFacts(ctx context.Context, pool *pgxpool.Pool) (version string, backend int, err error) {
	err = pool.QueryRow(ctx, `select split_part(current_setting('server_version'), ' ', 1), pg_backend_pid()`).Scan(&version, &backend)
	return version, backend, err
}

// checkpoint gives every measurement the same distance to the next timed one.
func checkpoint(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `checkpoint`)
	return err
}

func createDatabase(ctx context.Context, pool *pgxpool.Pool, name string) error {
	_, err := pool.Exec(ctx, `create database `+pgx.Identifier{name}.Sanitize())
	return err
}

func dropDatabase(ctx context.Context, pool *pgxpool.Pool, name string) error {
	_, err := pool.Exec(ctx, `drop database `+pgx.Identifier{name}.Sanitize()+` with (force)`)
	return err
}
