package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

// ErrEnded says that a task has ended already, so that there is nothing to
// cancel.
var ErrEnded = errors.New("the task has ended already")

// ErrOpen says that a task is being tracked, so that there is nothing to retry.
var ErrOpen = errors.New("the task is being tracked")

// ErrCanceled says that a person stopped tracking the task.
var ErrCanceled = errors.New("the task was canceled")

// casAttempts bounds how often a change is tried against polls that change the
// same task; each of them can move a task forward at most thrice.
const casAttempts = 5

// Cancel stops tracking a task, with its event, whatever poll is under way. It
// returns db.ErrNotFound or ErrEnded; an expired task can be canceled, which
// ends its late checks.
func Cancel(ctx context.Context, pool *pgxpool.Pool, id int64, deadline time.Duration) error {
	for range casAttempts {
		task, err := db.GetPollTarget(ctx, pool, id, deadline)
		if err != nil {
			return err
		}
		if db.Terminal(task.Status) && task.Status != db.Expired {
			return fmt.Errorf("%w: %s", ErrEnded, task.Status)
		}
		applied, err := write(ctx, pool, []*settlement{{task: task, change: &db.Change{
			Task: id, From: task.Status, Status: db.Canceled, StatusMessage: "tracking was stopped by a person",
			Polls: task.Polls, Deadline: deadline,
		}}})
		if err != nil {
			return err
		}
		if applied[id] {
			return db.NotifyChange(ctx, pool, id)
		}
	}
	return fmt.Errorf("canceling task %d: it keeps changing; try again", id)
}

// Retry asks again at once about a task that has ended, with a new deadline.
// Its next verdict makes a new event with a higher sequence. It returns
// db.ErrNotFound, ErrOpen or ErrCanceled.
func Retry(ctx context.Context, pool *pgxpool.Pool, id int64, deadline time.Duration) error {
	reopened, err := db.ReopenTask(ctx, pool, id, deadline)
	if err != nil {
		return err
	}
	if reopened {
		return db.NotifyChange(ctx, pool, id)
	}
	task, err := db.GetPollTarget(ctx, pool, id, deadline)
	switch {
	case err != nil:
		return err
	case task.Status == db.Canceled:
		return ErrCanceled
	}
	return ErrOpen
}
