package archives

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// row is what klingwatch says of the file of a task.
type row struct {
	Task      int
	State     string
	Key       string // "": it is not stored
	Thumbnail string
	Bytes     int64
	SHA256    string `db:"sha256"`
	Reason    string
	Archived  int // events that say that the task's files are there
}

// readRows returns what is said of all files.
func readRows(ctx context.Context, pool *pgxpool.Pool) ([]row, error) {
	rows, err := pool.Query(ctx, `
		select o.task, coalesce(o.archive_state, '') as state, coalesce(o.archive_key, '') as key, coalesce(o.thumbnail_key, '') as thumbnail,
		       coalesce(o.bytes, 0) as bytes, coalesce(o.sha256, '') as sha256, coalesce(o.archive_error, '') as reason,
		       (select count(*) from klingwatch.events e where e.task = o.task and e.type = 'task.archived') as archived
		from klingwatch.outputs o
		order by o.task`)
	if err != nil {
		return nil, fmt.Errorf("reading what is known of the files: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[row])
}

// countKept counts the files that are stored or given up.
func countKept(ctx context.Context, pool *pgxpool.Pool) (kept int, err error) {
	err = pool.QueryRow(ctx, `select count(*) from klingwatch.outputs where archive_state in ('stored', 'lost', 'skipped')`).Scan(&kept)
	return kept, err
}

// countRunning counts the files that are worked on.
func countRunning(ctx context.Context, pool *pgxpool.Pool) (running int, err error) {
	err = pool.QueryRow(ctx, `select count(*) from klingwatch.river_job where kind = 'archive' and state = 'running'`).Scan(&running)
	return running, err
}

// storedTasks returns the tasks from first on whose file is stored, without those that are known.
func storedTasks(ctx context.Context, pool *pgxpool.Pool, first int, known []int) ([]int, error) {
	rows, err := pool.Query(ctx, `select task from klingwatch.outputs where archive_state = 'stored' and task >= @first and task <> all (@known::bigint[])`,
		pgx.StrictNamedArgs{"first": first, "known": known})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// dueRemovals makes all files that no row tells of due to be removed, and counts them.
func dueRemovals(ctx context.Context, pool *pgxpool.Pool) (due int64, err error) {
	changed, err := pool.Exec(ctx, `update klingwatch.archive_removals set not_before = now()`)
	return changed.RowsAffected(), err
}
