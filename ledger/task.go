package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// Change is a task's new state with the files of one that succeeded.
type Change struct {
	db.Change
	Outputs     []db.Output
	Archive     bool            // the files of Outputs are to be kept, unless the task or its relay say otherwise
	TaskResult  json.RawMessage // of a task that succeeded and makes no file; nil: none
	Traceparent string          // of what caused it, W3C Trace Context; "": it is not traced
}

// lockWait bounds the wait of a batch for a row that somebody has locked.
const lockWait = 500 * time.Millisecond

// Apply writes changes with everything that follows from them (outputs, events,
// deliveries and their jobs), and troubles, in one transaction. It returns the
// tasks for which it did; one that was written since it was read is left alone. An error
// for which db.RowLocked holds says that somebody has locked a task.
func Apply(ctx context.Context, pool *pgxpool.Pool, changes []Change, troubles []db.Trouble) (applied map[int64]bool, err error) {
	err = pgx.BeginTxFunc(ctx, pool, db.LimitLockWait(lockWait), func(tx pgx.Tx) error {
		applied, err = apply(ctx, tx, changes, troubles)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("writing %d tasks: %w", len(changes)+len(troubles), err)
	}
	return applied, nil
}

func apply(ctx context.Context, tx pgx.Tx, changes []Change, troubles []db.Trouble) (map[int64]bool, error) {
	applied := make(map[int64]bool, len(changes)+len(troubles))
	if len(troubles) > 0 {
		recorded, err := db.RecordTroubles(ctx, tx, troubles)
		if err != nil {
			return nil, err
		}
		for _, task := range recorded {
			applied[task] = true
		}
	}
	if len(changes) == 0 {
		return applied, nil
	}
	rows, byTask := make([]db.Change, len(changes)), make(map[int64]Change, len(changes))
	for i, c := range changes {
		rows[i], byTask[c.Task] = c.Change, c
	}
	changed, err := db.ApplyChanges(ctx, tx, rows)
	if err != nil {
		return nil, err
	}
	for _, row := range changed {
		applied[row.Task] = true
	}
	return applied, addConsequences(ctx, tx, changed, byTask)
}

// addConsequences writes outputs, events and deliveries of the changes that took
// place. A change that keeps the status has none.
func addConsequences(ctx context.Context, tx pgx.Tx, changed []db.Changed, byTask map[int64]Change) error {
	var (
		outputs = map[bool][]db.Output{} // by whether they are to be kept
		events  []event
		ended   []int64
	)
	for _, row := range changed {
		c := byTask[row.Task]
		if c.Status == c.From {
			continue
		}
		news, err := newEvent(row, c)
		if err != nil {
			return err
		}
		if db.Terminal(c.Status) {
			ended = append(ended, row.Task)
		}
		outputs[c.Archive] = append(outputs[c.Archive], c.Outputs...)
		events = append(events, event{news, row})
	}
	if len(ended) > 0 {
		if err := db.RemoveOutputs(ctx, tx, ended); err != nil {
			return err
		}
	}
	for archive, list := range outputs {
		if err := db.AddOutputs(ctx, tx, list, archive); err != nil {
			return err
		}
	}
	return addEvents(ctx, tx, events)
}

// newEvent makes the event that tells of a change, but for its id.
func newEvent(row db.Changed, c Change) (db.NewEvent, error) {
	outputs := make([]webhook.Output, len(c.Outputs))
	for i, o := range c.Outputs {
		outputs[i] = toldOutput(o)
	}
	e, err := eventOf(db.EventBasis{Changed: row, Status: c.Status, StatusMessage: c.StatusMessage, EndedBy: c.EndedBy}, outputs, c.TaskResult)
	if err == nil && c.Traceparent != "" {
		e.Traceparent = &c.Traceparent
	}
	return e, err
}

// eventOf makes an event of a task, but for its id. All its times are UTC.
func eventOf(b db.EventBasis, outputs []webhook.Output, result json.RawMessage) (db.NewEvent, error) {
	payload, err := json.Marshal(webhook.Event{Type: b.EventType, Timestamp: b.ChangedAt.UTC(), Data: webhook.Task{
		ID:            b.Task,
		TaskID:        b.TaskID,
		Action:        b.Action,
		Action2:       b.Action2,
		Status:        b.Status,
		StatusMessage: b.StatusMessage,
		ExternalID:    b.ExternalID,
		Metadata:      b.Metadata,
		Sequence:      b.Sequence,
		EndedBy:       b.EndedBy,
		Relay:         b.Relay,
		Outputs:       outputs,
		Result:        result,
		CreatedAt:     b.CreatedAt.UTC(),
		FinishedAt:    utc(b.FinishedAt),
	}})
	if err != nil {
		return db.NewEvent{}, fmt.Errorf("encoding the event: %w", err)
	}
	return db.NewEvent{Task: b.Task, Sequence: b.Sequence, Type: b.EventType, Payload: payload}, nil
}

// toldOutput is an output as receivers get it.
func toldOutput(o db.Output) webhook.Output {
	return webhook.Output{
		Kind: o.Kind, Position: o.Position, URL: o.URL, UpstreamID: o.UpstreamID, DurationSeconds: o.DurationSeconds,
		WatermarkURL: o.WatermarkURL, ExpiresAt: utc(o.ExpiresAt), NeedsKey: o.NeedsKey,
	}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

var (
	// ErrEnded says that a task has ended already, so that there is nothing to
	// cancel.
	ErrEnded = errors.New("the task has ended already")
	// ErrOpen says that a task is being tracked, so that there is nothing to retry.
	ErrOpen = errors.New("the task is being tracked")
	// ErrNoRelay says that the relay of a task was removed.
	ErrNoRelay = errors.New("the relay of the task was removed")
)

// cancelAttempts bounds how often a cancellation is tried against polls that
// write the same task.
const cancelAttempts = 10

// Cancel stops tracking a task, with its event, whatever poll is under way, and
// tells the process that polls it. deadline is that of tasks that have none of
// their own. It returns db.ErrNotFound or ErrEnded; a task that has ended
// but is still asked about late can be canceled, which ends that.
func Cancel(ctx context.Context, pool *pgxpool.Pool, id int64, deadline time.Duration) error {
	for range cancelAttempts {
		task, err := db.GetPollTarget(ctx, pool, id, deadline)
		if err != nil {
			return err
		}
		if db.Terminal(task.Status) && !task.LateChecks {
			return fmt.Errorf("%w: %s", ErrEnded, task.Status)
		}
		var canceled []int64
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			canceled, err = cancel(ctx, tx, []db.PollTarget{task}, deadline)
			return err
		})
		if err != nil || len(canceled) > 0 {
			return err
		}
	}
	return fmt.Errorf("canceling task %d: it keeps changing; try again", id)
}

// CancelAsked does what klingwatch.cancel was asked for, however often it is called: a task
// that has ended or is gone needs nothing more, and one that was reopened since is not
// meant any more.
func CancelAsked(ctx context.Context, pool *pgxpool.Pool, id int64, deadline time.Duration) error {
	asked, err := db.GetCancellation(ctx, pool, id)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("reading the cancellation of task %d: %w", id, err)
	}
	if err := Cancel(ctx, pool, id, deadline); err != nil && !errors.Is(err, ErrEnded) && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	return db.FinishCancellation(ctx, pool, asked)
}

// cancel stops tracking tasks that were read, with their events, and tells the processes
// that poll them. It returns those that it stopped: the others have changed meanwhile.
func cancel(ctx context.Context, tx pgx.Tx, tasks []db.PollTarget, deadline time.Duration) ([]int64, error) {
	person := db.ByPerson
	changes := make([]Change, len(tasks))
	for i, task := range tasks {
		changes[i] = Change{Change: db.Change{
			Task: task.ID, Created: task.CreatedAt, Version: task.Version, From: task.Status, Status: db.Canceled, StatusMessage: "tracking was stopped by a person",
			EndedBy: &person, Polls: task.Polls, Deadline: deadline,
		}}
	}
	applied, err := apply(ctx, tx, changes, nil)
	if err != nil || len(applied) == 0 {
		return nil, err
	}
	canceled := slices.Collect(maps.Keys(applied))
	return canceled, db.NotifyChange(ctx, tx, canceled...)
}

// Reopen makes a task that has ended pending again, with a new deadline and a
// job that is due at once. Its next verdict makes a new event with a higher
// sequence. It returns db.ErrNotFound, ErrOpen or ErrNoRelay.
func Reopen(ctx context.Context, pool *pgxpool.Pool, id int64, deadline time.Duration) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		reopened, err := db.ReopenTasks(ctx, tx, []int64{id}, deadline)
		if err != nil || len(reopened) > 0 {
			return err
		}
		task, err := db.GetPollTarget(ctx, tx, id, deadline)
		switch {
		case err != nil:
			return err
		case db.Terminal(task.Status):
			return fmt.Errorf("%w: %s", ErrNoRelay, task.Relay)
		}
		return ErrOpen
	})
}
