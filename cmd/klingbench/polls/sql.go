package polls

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// copyAllTasks inserts tasks 1 to n.
func copyAllTasks(ctx context.Context, pool *pgxpool.Pool, n int) error {
	return copyTasks(ctx, pool, "tasks", 1, n)
}

// copyTasks inserts tasks first to last, which get these numbers as ids in a
// database that had none: by COPY, as an app with many tasks would.
func copyTasks(ctx context.Context, pool *pgxpool.Pool, table string, first, last int) error {
	next := first
	_, err := pool.CopyFrom(ctx, pgx.Identifier{"klingwatch", table}, []string{"task_id", "action", "action2"},
		pgx.CopyFromFunc(func() ([]any, error) {
			if next > last {
				return nil, nil
			}
			next++
			return []any{standin.TaskID(next - 1), standin.Action, standin.Action2}, nil
		}))
	if err != nil {
		return fmt.Errorf("inserting tasks %d to %d into %s: %w", first, last, table, err)
	}
	return nil
}

// commitTask inserts one task and returns the moment just before its commit was sent.
func commitTask(ctx context.Context, pool *pgxpool.Pool, number int, callback string) (committing time.Time, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2, callback_url) values ($1, $2, $3, $4)`,
			standin.TaskID(number), standin.Action, standin.Action2, callback)
		committing = time.Now()
		return err
	})
	if err != nil {
		return committing, fmt.Errorf("inserting task %d: %w", number, err)
	}
	return committing, nil
}

// app is the login of an app.
const app = "bench_app"

func createApp(ctx context.Context, pool *pgxpool.Pool) error {
	if _, err := pool.Exec(ctx, `create role `+app+` login in role klingwatch_producer`); err != nil {
		return fmt.Errorf("creating the login of an app: %w", err)
	}
	return nil
}

// connectApp connects as an app does: with its own rights, and without the settings of our
// sessions.
func connectApp(ctx context.Context, url string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, url)
	if err == nil {
		_, err = conn.Exec(ctx, `set session authorization `+app)
	}
	if err != nil {
		return nil, fmt.Errorf("connecting as an app: %w", err)
	}
	return conn, nil
}

// insertTask inserts one task in a transaction of its own.
func insertTask(ctx context.Context, conn *pgx.Conn, number int) error {
	_, err := conn.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2) values ($1, $2, $3)`,
		standin.TaskID(number), standin.Action, standin.Action2)
	if err != nil {
		return fmt.Errorf("inserting task %d: %w", number, err)
	}
	return nil
}

// anyOpen reports whether a task has not ended.
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

// createBareTables creates the two tables that COPY into tasks is compared with:
// bare has its columns only, untriggered has its checks and indexes, too.
func createBareTables(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `
		create table klingwatch.bare (like klingwatch.tasks including defaults including identity including storage);
		create table klingwatch.untriggered (like klingwatch.tasks including all)`)
	return err
}

// emptyTable makes room for the next bulk insert into a table.
func emptyTable(ctx context.Context, pool *pgxpool.Pool, table string) error {
	_, err := pool.Exec(ctx, `truncate klingwatch.river_job, `+pgx.Identifier{"klingwatch", table}.Sanitize()+` restart identity cascade`)
	if err != nil {
		return fmt.Errorf("emptying the table %s: %w", table, err)
	}
	return nil
}

// forgetOrder takes away what gives events ids in the order of their commits.
func forgetOrder(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `
		drop trigger write_events_in_order on klingwatch.events;
		create or replace function klingwatch.lock_event_order() returns void language sql as ''`)
	return err
}

// countEnded counts the tasks that have ended.
func countEnded(ctx context.Context, pool *pgxpool.Pool) (n int, err error) {
	err = pool.QueryRow(ctx, `select count(*) from klingwatch.tasks where finished_at is not null`).Scan(&n)
	return n, err
}
