package fleets

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// connections counts those of the processes: all but those of the measurement itself.
func connections(ctx context.Context, d *bench.Database) (n int, err error) {
	err = d.QueryRow(ctx, `
		select count(*)
		from pg_stat_activity
		where datname = current_database() and backend_type = 'client backend'`).Scan(&n)
	return n - int(d.Stat().TotalConns()), err
}

// anyOpen reports whether a task has not ended.
func anyOpen(ctx context.Context, d *bench.Database) (open bool, err error) {
	err = d.QueryRow(ctx, `select exists (select from klingwatch.tasks where finished_at is null)`).Scan(&open)
	return open, err
}

// anyUndelivered reports whether a webhook is missing.
func anyUndelivered(ctx context.Context, d *bench.Database) (missing bool, err error) {
	err = d.QueryRow(ctx, `
		select exists (select from klingwatch.tasks where finished_at is null)
		    or exists (select from klingwatch.deliveries where state <> 'delivered')`).Scan(&missing)
	return missing, err
}

// insertWithCallbacks inserts tasks whose ends are told.
func insertWithCallbacks(ctx context.Context, d *bench.Database, n int, hook string) error {
	_, err := d.Exec(ctx, `
		insert into klingwatch.tasks (task_id, action, action2, callback_url)
		select $1 || i, $2, $3, $4 || i from generate_series(1, $5::int) i`,
		standin.TaskPrefix, standin.Action, standin.Action2, hook, n)
	if err != nil {
		return fmt.Errorf("inserting %d tasks with callbacks: %w", n, err)
	}
	return d.CheckNumbers(ctx, n)
}

// vacuum gives what is dead free, as autovacuum would in time.
func vacuum(ctx context.Context, d *bench.Database) error {
	if _, err := d.Exec(ctx, `vacuum (analyze)`); err != nil {
		return fmt.Errorf("vacuuming: %w", err)
	}
	return nil
}

// sizeOf returns the bytes of a table, its indexes and its long values.
func sizeOf(ctx context.Context, d *bench.Database, table string) (bytes int64, err error) {
	if err = d.QueryRow(ctx, `select pg_total_relation_size(('klingwatch.' || $1)::regclass)`, table).Scan(&bytes); err != nil {
		return 0, fmt.Errorf("measuring the size of %s: %w", table, err)
	}
	return bytes, nil
}

// takenSince counts the running jobs that were taken since a time.
func takenSince(ctx context.Context, d *bench.Database, since time.Time) (n int, err error) {
	err = d.QueryRow(ctx, `select count(*) from klingwatch.river_job where kind = 'poll' and state = 'running' and attempted_at >= $1`, since).Scan(&n)
	return n, err
}

// jobsIn counts the jobs of tasks in a state.
func jobsIn(ctx context.Context, d *bench.Database, state string) (n int, err error) {
	err = d.QueryRow(ctx, `select count(*) from klingwatch.river_job where kind = 'poll' and state = $1::klingwatch.river_job_state`, state).Scan(&n)
	return n, err
}
