package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/klingwatch/klingwatch/db"
)

// redeliverArgs is the job of one bulk redelivery; the trigger on redeliveries
// inserts it.
type redeliverArgs struct {
	ID int64 `json:"id"` // redeliveries.id
}

func (redeliverArgs) Kind() string { return "redeliver" }

// redeliverWorker makes old deliveries due again, some each second. What is done
// is in the row: it goes on after a crash.
type redeliverWorker struct {
	river.WorkerDefaults[redeliverArgs]
	*Worker
}

// Work does one second's worth.
func (r *redeliverWorker) Work(ctx context.Context, job *river.Job[redeliverArgs]) error {
	done := false
	err := pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		step, err := db.LockRedelivery(ctx, tx, job.Args.ID)
		if errors.Is(err, db.ErrNotFound) {
			done = true
			return nil
		}
		if err == nil {
			done, err = db.RedeliverSome(ctx, tx, job.Args.ID, step)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("redelivering in bulk, number %d: %w", job.Args.ID, err)
	}
	if !done {
		return river.JobSnooze(time.Second)
	}
	r.Log.Info("bulk redelivery is done", "redelivery", job.Args.ID)
	return nil
}
