package reports

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

const (
	// soakStep is the time between two inserts.
	soakStep = 100 * time.Millisecond
	// soakSnapshot is how long the reader keeps each snapshot.
	soakSnapshot = 2 * time.Second
	// soakDay is how long a day of the inserted tasks lasts. Retention deletes whole days:
	// one with a task that has not ended stays, and so do those after it.
	soakDay = 10 * time.Second
)

// tasksPerStep is how many tasks each insert has, for a rate per second.
func tasksPerStep(rate int) int { return max(rate*int(soakStep)/int(time.Second), 1) }

// insertSteadily inserts tasks with a callback until ctx ends. They look a year old, so
// that retention may delete them as soon as those of their day have ended.
func insertSteadily(ctx context.Context, d *bench.Database, rate int, hook string) error {
	each, began := tasksPerStep(rate), time.Now()
	for next := 1; ; next += each {
		_, err := d.Exec(ctx, `
			insert into klingwatch.tasks (task_id, action, action2, callback_url, created_at, deadline_at)
			select @prefix || i, @action, @action2, @hook || i, now() - interval '365 days' + make_interval(days => @day), now() + interval '1 day'
			from generate_series(@first::int, @last::int) i`,
			pgx.StrictNamedArgs{"prefix": standin.TaskPrefix, "action": standin.Action, "action2": standin.Action2, "hook": hook, "day": int(time.Since(began) / soakDay), "first": next, "last": next + each - 1})
		if err != nil {
			return fmt.Errorf("inserting tasks %d to %d: %w", next, next+each-1, err)
		}
		if err := bench.Pause(ctx, soakStep); err != nil {
			return err
		}
	}
}

// readSteadily reads all reports, each time in a snapshot that it keeps for a
// while, until ctx ends.
func readSteadily(ctx context.Context, d *bench.Database) error {
	for {
		err := pgx.BeginTxFunc(ctx, d.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
			for _, q := range reportQueries {
				if _, err := tx.Exec(ctx, q.sql); err != nil {
					return fmt.Errorf("reading %s: %w", q.name, err)
				}
			}
			return bench.Pause(ctx, soakSnapshot)
		})
		if err != nil {
			return err
		}
	}
}

// tableSizes returns the bytes of tables with their indexes.
func tableSizes(ctx context.Context, d *bench.Database, tables []string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for _, table := range tables {
		var bytes int64
		if err := d.QueryRow(ctx, `select pg_total_relation_size($1::regclass)`, "klingwatch."+table).Scan(&bytes); err != nil {
			return nil, fmt.Errorf("measuring the size of %s: %w", table, err)
		}
		sizes[table] = bytes
	}
	return sizes, nil
}
