package poll

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/worker/batch"
)

const (
	// writeTimeout bounds one transaction. It does not end with the process's
	// context: an answer that was got is not lost by a stop.
	writeTimeout = 5 * time.Second
	// writePatience is how long a database in trouble is waited for with what polls came
	// to, tried again every writeRetry. While all tasks leave it is not: they are asked
	// about again.
	writePatience = 8 * time.Second
	writeRetry    = 250 * time.Millisecond
	// lockRetry is how often a task that somebody keeps locked is tried again,
	// lockPatience for how long, until its job is given back.
	lockRetry    = time.Second
	lockPatience = time.Minute
)

// writer writes what polls came to, many tasks in one transaction.
type writer struct {
	Config
	*batch.Batcher[*pollResult]
	draining *atomic.Bool // all tasks are to leave
}

func newWriter(cfg Config, draining *atomic.Bool) *writer {
	w := &writer{Config: cfg, draining: draining}
	w.Batcher = batch.NewBatcher(w.write)
	return w
}

// write writes a batch. A task that cannot be written does not hold up the others.
func (w *writer) write(results []*pollResult) {
	if results = w.setLockedAside(results); len(results) == 0 {
		return
	}
	traced := w.traceWrites(results)
	applied, err := w.apply(results)
	traced(applied, err)
	switch {
	case db.RowLocked(err):
		w.writeUnlocked(results)
	case err == nil || db.Transient(err):
		for _, r := range results {
			w.finish(r, applied, err)
		}
	case len(results) > 1:
		for _, r := range results {
			w.write([]*pollResult{r})
		}
	default:
		w.writeReduced(results[0], err)
	}
}

// writeReduced writes a result that Postgres refuses without what can be missed, so that
// its verdict is not lost. Where that is refused, too, the task tells it if it can.
func (w *writer) writeReduced(r *pollResult, why error) {
	w.Metrics.RefusedWrites.Inc()
	if r.change != nil {
		r.reduce(why)
		if applied, err := w.apply([]*pollResult{r}); err == nil || db.Transient(err) {
			w.finish(r, applied, err)
			return
		}
	}
	if trouble := r.untold(why); trouble != nil {
		_, _ = w.applyOnce(nil, []db.Trouble{*trouble}) // else the failing job tells it
	}
	w.finish(r, nil, why)
}

// finish ends the way of a result.
func (w *writer) finish(r *pollResult, applied map[int64]bool, err error) {
	ok := err == nil && applied[r.task.ID]
	if ok {
		w.log(r)
	}
	r.watched.relay.poller.written(r, ok, err)
}

// apply writes in one transaction; while the database is away it tries again
// for a while. A write that took place although its answer was lost is not made
// twice: the version of its task has moved on.
func (w *writer) apply(results []*pollResult) (applied map[int64]bool, err error) {
	var (
		changes  []ledger.Change
		troubles []db.Trouble
	)
	for _, r := range results {
		if r.change != nil {
			r.change.Traceparent = r.traceparent()
			changes = append(changes, *r.change)
		}
		if r.trouble != nil {
			troubles = append(troubles, *r.trouble)
		}
	}
	for deadline := time.Now().Add(writePatience); ; time.Sleep(writeRetry) {
		applied, err = w.applyOnce(changes, troubles)
		if !db.Transient(err) || w.draining.Load() || time.Now().After(deadline) {
			return applied, err
		}
	}
}

func (w *writer) applyOnce(changes []ledger.Change, troubles []db.Trouble) (map[int64]bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return ledger.Apply(ledger.WithOrderWait(ctx, w.OrderWait), w.Pool, changes, troubles)
}

// errLocked says why a result could not be written.
var errLocked = errors.New("a row of the task has been locked for a minute by another session: see pg_locks")

// writeUnlocked writes the tasks of a batch that nobody keeps locked.
func (w *writer) writeUnlocked(results []*pollResult) {
	for _, r := range results {
		if r.locked.IsZero() {
			r.locked = time.Now()
		}
	}
	if free := w.setLockedAside(results); len(free) < len(results) {
		w.write(free)
		return
	}
	for _, r := range results { // something else is locked, such as the whole table
		w.setAside(r)
	}
}

// setLockedAside returns the results whose tasks nobody keeps locked. It looks only at
// those that could not be written before.
func (w *writer) setLockedAside(results []*pollResult) (free []*pollResult) {
	var suspects []int64
	for _, r := range results {
		if !r.locked.IsZero() {
			suspects = append(suspects, r.task.ID)
		}
	}
	if suspects == nil {
		return results
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	locked, err := db.LockedTasks(ctx, w.Pool, suspects)
	if err != nil {
		locked = suspects
	}
	for _, r := range results {
		if slices.Contains(locked, r.task.ID) {
			w.setAside(r)
			continue
		}
		free = append(free, r)
	}
	return free
}

// setAside tries a result again in a while.
func (w *writer) setAside(r *pollResult) {
	if w.draining.Load() || time.Since(r.locked) > lockPatience {
		w.finish(r, nil, errLocked)
		return
	}
	time.AfterFunc(lockRetry, func() { w.Add(r) })
}

// log reports what was written.
func (w *writer) log(r *pollResult) {
	if r.trouble != nil && r.trouble.Error == "" {
		w.Log.Info("the relay answers about a task again", "task", r.task.ID, "relay", r.task.Relay, "task_id", r.task.TaskID)
	} else if r.trouble != nil {
		w.Log.Info("poll trouble", "task", r.task.ID, "relay", r.task.Relay, "task_id", r.task.TaskID, "outcome", string(r.verdict.outcome), "trouble", outbound.LogLine(r.trouble.Error))
	}
	if r.change == nil || r.change.Status == r.change.From {
		return
	}
	w.Metrics.CountStatus(r.task.Action+"/"+r.task.Action2, r.change.Status)
	w.Log.Info("task status", "task", r.task.ID, "relay", r.task.Relay, "task_id", r.task.TaskID, "action", r.task.Action, "action2", r.task.Action2,
		"from", r.change.From, "status", r.change.Status, "message", outbound.LogLine(r.change.StatusMessage), "polls", r.change.Polls,
		"outputs", len(r.change.Outputs), "age", r.task.Age.Round(time.Millisecond).String())
}
