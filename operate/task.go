package operate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// Track inserts all tasks or none, and returns what became of each, in their
// order. It returns an *Error that names the first task that is refused.
func Track(ctx context.Context, pool *pgxpool.Pool, tasks []db.NewTask) ([]ledger.Tracked, error) {
	if err := CheckTasks(tasks); err != nil {
		return nil, err
	}
	tracked, err := ledger.Track(ctx, pool, tasks, nil)
	return tracked, refusedTask(err)
}

// refusedTask tells which task the database refused, and why.
func refusedTask(err error) error {
	refused, isRefusal := errors.AsType[*ledger.RefusedError](err)
	if !isRefusal {
		return err
	}
	why := refused.Err.Error()
	if pgErr, isPg := errors.AsType[*pgconn.PgError](err); isPg {
		why = cmp.Or(pgErr.ConstraintName, pgErr.Message) // a constraint's name is a sentence
	}
	return &Error{Code: Invalid, Message: fmt.Sprintf("task %q was refused, nothing was tracked: %s", refused.TaskID, why), Rule: RuleOf(err)}
}

// Created is a task that was to be tracked, as it is now.
type Created struct {
	db.Task
	New bool // false: it was tracked already, with the same values
}

// Create tracks all tasks or none, and returns them in their order. It returns an *Error
// of the code Differs where one is tracked already with another external id, callback,
// choice of what is kept or metadata, or for another app than the one that is named.
func Create(ctx context.Context, pool *pgxpool.Pool, tasks []db.NewTask) (created []Created, err error) {
	if err := CheckTasks(tasks); err != nil {
		return nil, err
	}
	_, err = ledger.Track(ctx, pool, tasks, func(tx pgx.Tx, tracked []ledger.Tracked, added []db.Task) error {
		created, err = agree(ctx, tx, tasks, tracked, added)
		return err
	})
	return created, refusedTask(err)
}

// agree reads the tasks that were there, and refuses those that differ from what was asked.
func agree(ctx context.Context, q db.Querier, wanted []db.NewTask, tracked []ledger.Tracked, added []db.Task) ([]Created, error) {
	byID := make(map[int64]db.Task, len(tracked))
	for _, t := range added {
		byID[t.ID] = t
	}
	var there []int64
	for _, t := range tracked {
		if _, known := byID[t.ID]; !known {
			there = append(there, t.ID)
		}
	}
	if len(there) > 0 {
		rows, err := db.TasksOf(ctx, q, there)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			byID[row.ID] = row
		}
	}
	created := make([]Created, len(tracked))
	for i, t := range tracked {
		created[i] = Created{byID[t.ID], t.Added}
		if !t.Added && differs(wanted[i], byID[t.ID]) {
			return nil, &Error{Code: Differs, Place: i, Message: fmt.Sprintf("task %q is tracked already, with other values", wanted[i].TaskID)}
		}
	}
	return created, nil
}

// differs compares what an app says of a task.
func differs(wanted db.NewTask, there db.Task) bool {
	return !equal(wanted.ExternalID, there.ExternalID) || !equal(wanted.CallbackURL, there.CallbackURL) ||
		!equal(wanted.Archive, there.Archive) || !sameWords(wanted.CallbackEvents, there.CallbackEvents) ||
		wanted.App != "" && there.App != wanted.App || !sameJSON(wanted.Metadata, there.Metadata)
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// sameWords compares lists as sets.
func sameWords(a, b []string) bool {
	set := func(words []string) []string { return slices.Compact(slices.Sorted(slices.Values(words))) }
	return slices.Equal(set(a), set(b))
}

// sameJSON compares objects; nil is {}.
func sameJSON(a, b json.RawMessage) bool {
	x, y := map[string]any{}, map[string]any{}
	return (a == nil || json.Unmarshal(a, &x) == nil) && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// CheckTasks returns an *Error for what the database would not refuse, or not as
// clearly.
func CheckTasks(tasks []db.NewTask) error {
	for i, t := range tasks {
		if refused := checkTask(t); refused != nil {
			refused.Place = i
			return refused
		}
	}
	return nil
}

func checkTask(t db.NewTask) *Error {
	if t.CallbackURL != nil {
		if err := webhook.CheckURL(*t.CallbackURL); err != nil {
			return invalid("callback_url", "cannot be used: %s", err).rule("must be an absolute http or https URL without user and fragment")
		}
	}
	for _, event := range t.CallbackEvents {
		if !slices.Contains(webhook.CallbackTypes, event) {
			return invalid("callback_events", "must be %s, not %q", or(webhook.CallbackTypes), event).rule("must be " + or(webhook.CallbackTypes))
		}
	}
	if len(t.CallbackEvents) > 0 && t.CallbackURL == nil {
		return invalid("callback_events", "goes with callback_url, which gets them")
	}
	var object map[string]any
	if t.Metadata != nil && (json.Unmarshal(t.Metadata, &object) != nil || object == nil) {
		return invalid("metadata", `is not a JSON object like {"user": 42}`)
	}
	if t.DeadlineIn != nil && *t.DeadlineIn <= 0 {
		return invalid("deadline", "must be more than 0, not %s", *t.DeadlineIn)
	}
	if t.DeadlineAt != nil && !t.DeadlineAt.After(time.Now()) {
		return invalid("deadline_at", "must be in the future")
	}
	return nil
}

// FindTasks returns the tasks with our id, the provider's id or an external id, oldest
// first: the same one may be tracked under several paths.
func FindTasks(ctx context.Context, q db.Querier, id string) ([]db.Task, error) {
	tasks, err := db.FindTasks(ctx, q, id)
	if err != nil && !db.RefusedValue(err) { // a text that the database cannot hold is no task's
		return nil, fmt.Errorf("reading the task: %w", err)
	}
	if len(tasks) == 0 {
		return nil, refuse(NotFound, "", "no task has the id %q: neither ours, nor the provider's, nor an external one", id)
	}
	return tasks, nil
}

// FindTask returns the one task that an id means. Our own id comes first: a
// provider's id that is a number may be another task's.
func FindTask(ctx context.Context, pool *pgxpool.Pool, id string) (db.Task, error) {
	tasks, err := FindTasks(ctx, pool, id)
	if err != nil {
		return db.Task{}, err
	}
	for _, task := range tasks {
		if strconv.FormatInt(task.ID, 10) == id {
			return task, nil
		}
	}
	if len(tasks) > 1 {
		return db.Task{}, refuse(Ambiguous, "", "%d tasks have the id %q: give our id, see klingwatch show %s", len(tasks), id, id)
	}
	return tasks[0], nil
}

// askedLimit bounds the wait for a service that cancels a task.
const askedLimit = 5 * time.Second

// Cancel stops tracking a task; the provider goes on with it. deadline is that of
// tasks that have none of their own. A role that may not write tasks has a running
// service do it, and waits for that.
func Cancel(ctx context.Context, pool *pgxpool.Pool, task db.Task, deadline time.Duration) error {
	err := ledger.Cancel(ctx, pool, task.ID, deadline)
	if db.Denied(err) {
		err = askToCancel(ctx, pool, task.ID)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errUnserved):
		return refuse(Conflict, "", "task %d: %s", task.ID, err)
	case errors.Is(err, ledger.ErrEnded):
		return refuse(Conflict, "", "task %d: %s", task.ID, err)
	}
	return missing(err, "task", task.ID, "canceling", "")
}

var errUnserved = errors.New("it is canceled as soon as a klingwatch serve works on this database, which none does now")

// askToCancel returns when a service has canceled a task, or errUnserved.
func askToCancel(ctx context.Context, pool *pgxpool.Pool, id int64) error {
	if err := db.AskToCancel(ctx, pool, id); err != nil {
		return err
	}
	limited, stop := context.WithTimeout(ctx, askedLimit)
	defer stop()
	err := Wait(limited, pool, []int64{id}, func(db.TaskStatus) {})
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return errUnserved
	}
	return err
}

// Retry asks again at once about a task that has ended, with a new deadline.
func Retry(ctx context.Context, pool *pgxpool.Pool, task db.Task, deadline time.Duration) error {
	err := ledger.Reopen(ctx, pool, task.ID, deadline)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ledger.ErrOpen):
		return stillOpen(task)
	case errors.Is(err, ledger.ErrNoRelay):
		return withoutRelay(task)
	}
	return missing(err, "task", task.ID, "retrying", "")
}

// KeepFiles has the files of tasks kept that were not to be, or were lost, and that the
// provider still has. It returns the tasks that have such files.
func KeepFiles(ctx context.Context, pool *pgxpool.Pool, tasks []int64) (asked []int64, err error) {
	if asked, err = db.AskForFiles(ctx, pool, tasks); err != nil {
		return nil, fmt.Errorf("asking for the files of tasks: %w", err)
	}
	return asked, nil
}

func stillOpen(task db.Task) error {
	return refuse(Conflict, "", "task %d is %s and being tracked: there is nothing to retry", task.ID, task.Status)
}

func withoutRelay(task db.Task) error {
	return refuse(Conflict, "see klingwatch relays add --help", "task %d: there is no relay %s any more: add it again to ask about the task", task.ID, task.Relay)
}

// CheckTask returns the *Error with which Cancel or Retry (db.BulkCancel, db.BulkRetry)
// would refuse a task as it is now. It changes nothing.
func CheckTask(ctx context.Context, q db.Querier, action string, task db.Task) error {
	switch ended := db.Terminal(task.Status); {
	case action == db.BulkCancel && ended:
		return refuse(Conflict, "", "task %d: %s: %s", task.ID, ledger.ErrEnded, task.Status)
	case action == db.BulkRetry && !ended:
		return stillOpen(task)
	case action == db.BulkCancel || task.Relay == db.DefaultRelay:
		return nil
	}
	exists, err := db.RelayExists(ctx, q, task.Relay)
	switch {
	case err != nil:
		return fmt.Errorf("reading the relay: %w", err)
	case !exists:
		return withoutRelay(task)
	}
	return nil
}

// waitLook is how often Wait looks at the tasks.
const waitLook = 250 * time.Millisecond

// Wait returns when all tasks, by our ids, are terminal or deleted, or ctx ends.
// It calls ended for each of them once; Status is "" for one that was deleted.
func Wait(ctx context.Context, pool *pgxpool.Pool, ids []int64, ended func(db.TaskStatus)) error {
	open := slices.Compact(slices.Sorted(slices.Values(ids)))
	for {
		found, err := db.StatusesOf(ctx, pool, open)
		if err != nil {
			return fmt.Errorf("reading the tasks: %w", err)
		}
		byID := make(map[int64]db.TaskStatus, len(found))
		for _, task := range found {
			byID[task.ID] = task
		}
		open = slices.DeleteFunc(open, func(id int64) bool {
			task, there := byID[id]
			if there && !db.Terminal(task.Status) {
				return false
			}
			task.ID = id
			ended(task)
			return true
		})
		if len(open) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitLook):
		}
	}
}
