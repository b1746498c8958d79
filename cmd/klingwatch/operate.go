package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
)

type retryCommand struct {
	ID string `arg:"" help:"The task's id: ours or the provider's."`
}

// Run asks again at once about a task that has ended.
func (r retryCommand) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		task, err := d.theTask(ctx, r.ID)
		if err != nil {
			return err
		}
		switch err := ledger.Reopen(ctx, d.Pool, task.ID, s.TaskDeadline); {
		case errors.Is(err, ledger.ErrOpen):
			return fmt.Errorf("task %d is %s and being tracked: there is nothing to retry", task.ID, task.Status)
		case errors.Is(err, ledger.ErrCanceled):
			return fmt.Errorf("task %d was canceled by a person: delete the row and insert it again to track it", task.ID)
		case err != nil:
			return fmt.Errorf("retrying task %d: %w", task.ID, err)
		}
		fmt.Fprintf(c.out, "task %d (%s) is asked again\n", task.ID, clean(task.TaskID))
		return c.hintIdle(ctx, d)
	})
}

type cancelCommand struct {
	ID string `arg:"" help:"The task's id: ours or the provider's."`
}

// Run stops tracking a task; the provider goes on with it.
func (r cancelCommand) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		task, err := d.theTask(ctx, r.ID)
		if err != nil {
			return err
		}
		switch err := ledger.Cancel(ctx, d.Pool, task.ID, s.TaskDeadline); {
		case errors.Is(err, ledger.ErrEnded):
			return fmt.Errorf("task %d: %w", task.ID, err)
		case err != nil:
			return fmt.Errorf("canceling task %d: %w", task.ID, err)
		}
		fmt.Fprintf(c.out, "task %d (%s) is not tracked any more; the provider may still finish and charge it\n", task.ID, clean(task.TaskID))
		return nil
	})
}

// theTask finds the one task with our id or the provider's.
func (d *database) theTask(ctx context.Context, id string) (db.Task, error) {
	tasks, err := db.FindTasks(ctx, d.Pool, id)
	switch {
	case err != nil:
		return db.Task{}, fmt.Errorf("reading the task: %w", err)
	case len(tasks) == 0:
		return db.Task{}, fmt.Errorf("no task has the id %q, neither ours nor the provider's", id)
	case len(tasks) > 1:
		return db.Task{}, fmt.Errorf("%d tasks have the id %q: give our id, see klingwatch show %s", len(tasks), id, id)
	}
	return tasks[0], nil
}

// hintIdle tells when nobody works on the database.
func (c *console) hintIdle(ctx context.Context, d *database) error {
	n, err := db.LiveInstances(ctx, d.Pool)
	if err != nil {
		return fmt.Errorf("looking for a working service: %w", err)
	}
	if n == 0 {
		fmt.Fprintln(c.err, "no klingwatch serve is working on this database now; tasks and webhooks wait until one does")
	}
	return nil
}

// hintPaused tells that, and why, polling is paused.
func (c *console) hintPaused(ctx context.Context, d *database) error {
	reason, err := d.paused(ctx, "")
	if err != nil {
		return err
	}
	if reason != "" {
		fmt.Fprintln(c.err, clean(reason))
	}
	return nil
}

// paused says why polling is paused, with a credential or, for "", any; "" when
// it is not.
func (d *database) paused(ctx context.Context, credential string) (string, error) {
	pauses, err := db.Pauses(ctx, d.Pool, db.PauseStale)
	if err != nil {
		return "", fmt.Errorf("reading the pauses: %w", err)
	}
	for _, p := range pauses {
		if credential == "" || credential == p.Credential {
			return fmt.Sprintf("polling is paused since %s: the relay refuses the credential %s: %s; the next probe is at %s",
				when(&p.PausedAt), p.Credential, p.Reason, when(&p.ProbeAt)), nil
		}
	}
	return "", nil
}
