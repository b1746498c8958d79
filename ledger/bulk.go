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

// bulkStep is how many are changed in one transaction: few enough that whoever waits for
// one of their rows, or for the turn of its own events, waits for some hundredths of a
// second.
const bulkStep = 100

// Step is what CarryOn did.
type Step struct {
	Taken    int  // how many it came to
	Enough   bool // the action has had its number of this second
	Paced    bool // it has one
	Finished bool // the action has finished, was stopped, or is gone
}

// CarryOn does a step of a bulk action and notes its progress, in one transaction: after a
// crash it goes on where it was. already is how many it has come to within this second.
// deadline is that of tasks that have none of their own. An error for which db.RowLocked
// holds says that somebody has locked what is next.
func CarryOn(ctx context.Context, pool *pgxpool.Pool, id int64, already int, deadline time.Duration) (step Step, err error) {
	err = pgx.BeginTxFunc(ctx, pool, db.LimitLockWait(lockWait), func(tx pgx.Tx) error {
		b, err := db.LockBulk(ctx, tx, id)
		if errors.Is(err, db.ErrNotFound) {
			step.Finished = true
			return nil
		}
		if err != nil {
			return err
		}
		most := bulkStep
		if b.Paced {
			most = min(most, b.PerSecond-already)
		}
		if step.Paced = b.Paced; most <= 0 {
			step.Enough = true
			return nil
		}
		taken, err := takeNext(ctx, tx, b, most, deadline)
		if err != nil {
			return err
		}
		step.Taken, step.Enough = len(taken.Chosen), b.Paced && already+len(taken.Chosen) >= b.PerSecond
		step.Finished, err = db.RecordProgress(ctx, tx, b, taken, most)
		return err
	})
	if err != nil {
		return Step{}, fmt.Errorf("carrying on bulk action %d: %w", id, err)
	}
	return step, nil
}

// takeNext changes what is next, at most so many.
func takeNext(ctx context.Context, tx pgx.Tx, b db.Bulk, most int, deadline time.Duration) (db.Taken, error) {
	if b.Action == db.BulkRedeliver {
		return db.RedeliverNext(ctx, tx, b, most)
	}
	taken, err := db.LockNextTasks(ctx, tx, b, most)
	if err != nil {
		return taken, err
	}
	switch b.Action {
	case db.BulkRetry:
		taken.Changed, err = db.ReopenTasks(ctx, tx, taken.Changed, deadline)
		return taken, err
	case db.BulkArchive:
		taken.Changed, err = db.AskForFiles(ctx, tx, taken.Changed)
		return taken, err
	}
	tasks, err := db.PollTargets(ctx, tx, taken.Changed, deadline)
	if err != nil {
		return taken, err
	}
	taken.Changed, err = cancel(ctx, tx, tasks, deadline)
	return taken, err
}
