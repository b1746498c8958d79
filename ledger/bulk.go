package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

// CarryOn does a second's worth of a bulk action and notes its progress, in one
// transaction: after a crash it goes on where it was. It returns true when the action has
// finished, was stopped, or is gone. deadline is that of tasks that have none of their
// own. An error for which db.RowLocked holds says that somebody has locked what is next.
func CarryOn(ctx context.Context, pool *pgxpool.Pool, id int64, deadline time.Duration) (finished bool, err error) {
	err = pgx.BeginTxFunc(ctx, pool, db.LimitLockWait(lockWait), func(tx pgx.Tx) error {
		b, err := db.LockBulk(ctx, tx, id)
		if errors.Is(err, db.ErrNotFound) {
			finished = true
			return nil
		}
		if err != nil {
			return err
		}
		taken, err := takeNext(ctx, tx, b, deadline)
		if err != nil {
			return err
		}
		finished, err = db.RecordProgress(ctx, tx, b, taken)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("carrying on bulk action %d: %w", id, err)
	}
	return finished, nil
}

// takeNext changes what is next.
func takeNext(ctx context.Context, tx pgx.Tx, b db.Bulk, deadline time.Duration) (db.Taken, error) {
	if b.Action == db.BulkRedeliver {
		return db.RedeliverNext(ctx, tx, b)
	}
	taken, err := db.LockNextTasks(ctx, tx, b)
	if err != nil {
		return taken, err
	}
	if b.Action == db.BulkRetry {
		taken.Changed, err = db.ReopenTasks(ctx, tx, taken.Changed, deadline)
		return taken, err
	}
	tasks, err := db.PollTargets(ctx, tx, taken.Changed, deadline)
	if err != nil {
		return taken, err
	}
	taken.Changed, err = cancel(ctx, tx, tasks, deadline)
	return taken, err
}
