package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

// Tracked is what became of a task that was to be tracked.
type Tracked struct {
	ID    int64 // ours
	Added bool  // false: it was tracked already
}

// ErrOfAnotherApp says that a task is tracked already, by an app whose tasks the role does
// not meet.
var ErrOfAnotherApp = errors.New("it is tracked already, by another app")

// RefusedError says which task was refused; its cause is ErrOfAnotherApp, or names the
// constraint that it violates.
type RefusedError struct {
	TaskID string
	Err    error
}

// Error names the task and the cause.
func (e *RefusedError) Error() string { return fmt.Sprintf("tracking task %q: %s", e.TaskID, e.Err) }

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

const (
	// trackAttempts bounds how often it is tried against those who delete the same tasks
	// at the same moment.
	trackAttempts = 3
	// deadlockAttempts bounds how often it is tried against those who track them, in
	// another order, deadlockPause is about the first pause; each is twice as long.
	deadlockAttempts = 5
	deadlockPause    = 20 * time.Millisecond
)

// Track inserts all tasks, with their jobs, or none, and returns what became of
// each, in the order of tasks; one that occurs twice was added once. It returns
// a *RefusedError where the database refuses one. An error of agree, which looks at what
// became of them, and at those that were added, before it is committed, takes it all back;
// nil agrees to everything.
func Track(ctx context.Context, pool *pgxpool.Pool, tasks []db.NewTask, agree func(tx pgx.Tx, tracked []Tracked, added []db.Task) error) ([]Tracked, error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	var (
		tracked []Tracked
		err     error
	)
	for attempt := range deadlockAttempts {
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
			var added []db.Task
			tracked, added, err = track(ctx, tx, tasks)
			if err == nil && agree != nil {
				err = agree(tx, tracked, added)
			}
			return err
		})
		if db.OutageOf(err) != db.Conflict { // two who track the same tasks in another order
			break
		}
		// whoever comes back before the other has gone on meets it again
		pause := time.Duration((0.5 + rand.Float64()) * float64(deadlockPause<<attempt))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	switch {
	case err == nil, errors.Is(err, ErrOfAnotherApp):
		return tracked, err
	case db.RefusedValue(err):
		return nil, findRefused(ctx, pool, tasks, err)
	}
	return nil, fmt.Errorf("tracking %d tasks: %w", len(tasks), err)
}

// taskKey is what makes a task one and the same.
type taskKey struct{ relay, taskID, action, action2 string }

func keyOf(t db.NewTask) taskKey {
	return taskKey{cmp.Or(t.Relay, db.DefaultRelay), t.TaskID, t.Action, t.Action2}
}

func track(ctx context.Context, tx pgx.Tx, tasks []db.NewTask) (tracked []Tracked, added []db.Task, err error) {
	found := make(map[taskKey]Tracked, len(tasks))
	missing := tasks
	for range trackAttempts {
		inserted, err := db.InsertTasks(ctx, tx, missing)
		if err != nil {
			return nil, nil, err
		}
		added = append(added, inserted...)
		for _, t := range inserted {
			found[taskKey{t.Relay, t.TaskID, t.Action, t.Action2}] = Tracked{t.ID, true}
		}
		missing = without(missing, found)
		if len(missing) == 0 {
			return inOrder(tasks, found), added, nil
		}
		there, err := db.FindTracked(ctx, tx, missing)
		if err != nil {
			return nil, nil, err
		}
		for _, t := range there {
			found[taskKey{t.Relay, t.TaskID, t.Action, t.Action2}] = Tracked{t.ID, false}
		}
		if missing = without(missing, found); len(missing) == 0 {
			return inOrder(tasks, found), added, nil
		}
		if err := knowsRelays(ctx, tx, missing); err != nil {
			return nil, nil, err
		}
	}
	switch all, err := db.SeesAll(ctx, tx); {
	case err != nil:
		return nil, nil, err
	case !all:
		return nil, nil, &RefusedError{missing[0].TaskID, ErrOfAnotherApp}
	}
	return nil, nil, fmt.Errorf("task %q is inserted and deleted all the time", missing[0].TaskID)
}

// knowsRelays returns a *RefusedError for the first task whose relay is not known. An insert
// that finds the task at another relay asks nobody, as long as there is no second one.
func knowsRelays(ctx context.Context, tx pgx.Tx, tasks []db.NewTask) error {
	for _, t := range tasks {
		if t.Relay == "" || t.Relay == db.DefaultRelay {
			continue
		}
		known, err := db.RelayExists(ctx, tx, t.Relay)
		if err != nil {
			return err
		}
		if !known {
			return &RefusedError{t.TaskID, fmt.Errorf("relay %s is not known, the relays are %s", t.Relay, db.DefaultRelay)}
		}
	}
	return nil
}

// without returns the tasks that are not found yet.
func without(tasks []db.NewTask, found map[taskKey]Tracked) []db.NewTask {
	var rest []db.NewTask
	for _, t := range tasks {
		if _, ok := found[keyOf(t)]; !ok {
			rest = append(rest, t)
		}
	}
	return rest
}

func inOrder(tasks []db.NewTask, found map[taskKey]Tracked) []Tracked {
	tracked := make([]Tracked, len(tasks))
	for i, t := range tasks {
		key := keyOf(t)
		tracked[i] = found[key]
		found[key] = Tracked{ID: found[key].ID} // the same task a second time
	}
	return tracked
}

// findRefused finds the first task that the database refuses, by halves; cause
// is what it said about all of them.
func findRefused(ctx context.Context, pool *pgxpool.Pool, tasks []db.NewTask, cause error) error {
	for len(tasks) > 1 {
		half := tasks[:len(tasks)/2]
		err := tryInsert(ctx, pool, half)
		switch {
		case err == nil:
			tasks = tasks[len(tasks)/2:]
		case db.RefusedValue(err):
			tasks, cause = half, err
		default:
			return fmt.Errorf("tracking %d tasks: %w", len(tasks), err)
		}
	}
	if err := tryInsert(ctx, pool, tasks); err != nil {
		cause = err
	}
	return &RefusedError{tasks[0].TaskID, cause}
}

// tryInsert inserts and takes it back.
func tryInsert(ctx context.Context, pool *pgxpool.Pool, tasks []db.NewTask) error {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	_, err = db.InsertTasks(ctx, tx, tasks)
	return err
}
