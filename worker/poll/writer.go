package poll

import (
	"context"
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

// write writes a batch. Where Postgres refuses a value, each task is written
// alone, so that one cannot hold up the others, and without what can be missed,
// so that its verdict is not lost.
func (w *writer) write(results []*pollResult) {
	traced := w.traceWrites(results)
	applied, err := w.apply(results)
	if err != nil && db.RefusedValue(err) {
		if len(results) > 1 {
			traced(nil, err)
			for _, r := range results {
				w.write([]*pollResult{r})
			}
			return
		}
		if results[0].change != nil {
			results[0].reduce(err)
			applied, err = w.apply(results)
		}
	}
	traced(applied, err)
	for _, r := range results {
		ok := err == nil && applied[r.task.ID]
		if ok {
			w.log(r)
		}
		r.watched.relay.poller.written(r, ok, err)
	}
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
	return ledger.Apply(ctx, w.Pool, changes, troubles)
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
	w.Metrics.StatusChanges.WithLabelValues(r.change.Status).Inc()
	w.Log.Info("task status", "task", r.task.ID, "relay", r.task.Relay, "task_id", r.task.TaskID, "action", r.task.Action, "action2", r.task.Action2,
		"from", r.change.From, "status", r.change.Status, "message", outbound.LogLine(r.change.StatusMessage), "polls", r.change.Polls,
		"outputs", len(r.change.Outputs), "age", r.task.Age.Round(time.Millisecond).String())
}
