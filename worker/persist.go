package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/webhook"
)

// writeTimeout bounds writing what a poll or an attempt came to. It does not
// end with the job's context: an answer that was got is not lost by a stop.
const writeTimeout = 5 * time.Second

// settlement is what a poll came to and what of it is to be written.
type settlement struct {
	watched *watched
	verdict verdict
	reply   *klingapi.Reply
	task    db.PollTarget // at the time of the verdict
	change  *db.Change    // nil: the status word is the known one
	outputs []db.Output
	trouble *db.Trouble // nil: last_error is right already, or part of the change
	spans   *spans      // nil without tracing
}

// settlement decides what to write of a poll: nothing when it changed nothing.
func (w *Worker) settlement(watched *watched, v verdict, reply *klingapi.Reply, now time.Time) *settlement {
	task := watched.now(now)
	s := &settlement{watched: watched, verdict: v, reply: reply, task: task}
	newWord := reply != nil && reply.Record.Word != task.UpstreamStatus && !v.late
	switch {
	case v.status != task.Status || newWord:
		c := changeOf(task, v, reply, w.TaskDeadline)
		s.change, s.outputs = &c, outputsOf(task.ID, v, reply)
	case troubleClass(v.trouble) != troubleClass(task.LastError):
		s.trouble = &db.Trouble{Task: task.ID, Error: v.trouble, Polls: v.memory.Polls}
	}
	return s
}

// troubleClass is the part of a trouble that matters for writing it again: kind,
// HTTP status and code. Messages hold request ids, another one each time.
func troubleClass(trouble string) string {
	parts := strings.SplitN(trouble, ": ", 3)
	if len(parts) > 1 && strings.HasPrefix(parts[1], "HTTP ") {
		return parts[0] + parts[1]
	}
	return parts[0]
}

// write writes settlements in one transaction: changes with everything that
// follows from them (outputs, events, deliveries and their jobs) and troubles.
// It returns the tasks whose change took place; a task that has not the
// expected status any more is left alone.
func write(ctx context.Context, pool *pgxpool.Pool, settlements []*settlement) (applied map[int64]bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	var (
		changes  []db.Change
		troubles []db.Trouble
		byTask   = make(map[int64]*settlement, len(settlements))
	)
	for _, s := range settlements {
		byTask[s.task.ID] = s
		if s.change != nil {
			changes = append(changes, *s.change)
		}
		if s.trouble != nil {
			troubles = append(troubles, *s.trouble)
		}
	}
	applied = make(map[int64]bool, len(changes))
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if len(troubles) > 0 {
			if err := db.RecordTroubles(ctx, tx, troubles); err != nil {
				return err
			}
		}
		if len(changes) == 0 {
			return nil
		}
		done, err := db.ApplyChanges(ctx, tx, changes)
		if err != nil {
			return err
		}
		return writeConsequences(ctx, tx, done, byTask, applied)
	})
	if err != nil {
		return nil, fmt.Errorf("writing the polls of %d tasks: %w", len(settlements), err)
	}
	return applied, nil
}

// writeConsequences writes outputs, events and deliveries of the changes that
// took place.
func writeConsequences(ctx context.Context, tx pgx.Tx, done []db.Changed, byTask map[int64]*settlement, applied map[int64]bool) error {
	var (
		outputs []db.Output
		events  []db.NewEvent
		ended   []int64
	)
	for _, d := range done {
		applied[d.Task] = true
		s := byTask[d.Task]
		if s.change.Status == s.change.From {
			continue
		}
		event, err := eventOf(d, *s.change, s.outputs)
		if err != nil {
			return err
		}
		event.Traceparent = s.traceparent()
		if db.Terminal(s.change.Status) {
			ended = append(ended, d.Task)
		}
		outputs = append(outputs, s.outputs...)
		events = append(events, event)
	}
	if len(ended) > 0 {
		if err := db.RemoveOutputs(ctx, tx, ended); err != nil {
			return err
		}
	}
	if err := db.AddOutputs(ctx, tx, outputs); err != nil {
		return err
	}
	return db.AddEvents(ctx, tx, events)
}

// tell logs what was written.
func (w *Worker) tell(s *settlement) {
	if s.trouble != nil {
		w.Log.Info("poll trouble", "task", s.task.ID, "task_id", s.task.TaskID, "outcome", string(s.verdict.outcome), "trouble", redact(s.trouble.Error))
	}
	if s.change == nil || s.change.Status == s.change.From {
		return
	}
	w.Metrics.StatusChanges.WithLabelValues(s.change.Status).Inc()
	w.Log.Info("task status", "task", s.task.ID, "task_id", s.task.TaskID, "action", s.task.Action, "action2", s.task.Action2,
		"from", s.change.From, "status", s.change.Status, "message", redact(s.change.StatusMessage), "polls", s.change.Polls,
		"outputs", len(s.outputs), "age", s.task.Age.Round(time.Millisecond).String())
}

// changeOf puts a verdict and the reply behind it into a row.
func changeOf(task db.PollTarget, v verdict, reply *klingapi.Reply, deadline time.Duration) db.Change {
	c := db.Change{
		Task:          task.ID,
		From:          task.Status,
		Status:        v.status,
		StatusMessage: v.message,
		Polls:         v.memory.Polls,
		LastError:     nonEmpty(v.trouble),
		Polled:        true,
		Deadline:      deadline,
	}
	if v.status == db.Expired {
		c.LateChecks = LateChecks
	}
	if reply == nil {
		return c
	}
	record := reply.Record
	c.UpstreamStatus = nonEmpty(record.Word)
	c.ErrorCode = nonEmpty(reply.Code)
	c.RequestID = nonEmpty(reply.RequestID)
	c.Result = reply.Body
	c.UnitDeduction = nonEmpty(record.UnitDeduction)
	c.UpstreamCreatedAt = nonZero(record.CreatedAt)
	c.UpstreamUpdatedAt = nonZero(record.UpdatedAt)
	return c
}

// outputsOf lists the files of a task that succeeded.
func outputsOf(task int64, v verdict, reply *klingapi.Reply) []db.Output {
	if v.status != db.Succeeded || reply == nil {
		return nil
	}
	// the provider's clock where it told the time, else ours: hours do not matter in 30 days
	finishedAt := reply.Record.UpdatedAt
	if finishedAt.IsZero() {
		finishedAt = time.Now().UTC()
	}
	expires := finishedAt.Add(klingapi.OutputLifetime)
	outputs := make([]db.Output, len(reply.Record.Outputs))
	for i, o := range reply.Record.Outputs {
		outputs[i] = db.Output{
			Task:            task,
			Kind:            string(o.Kind),
			Position:        o.Position,
			URL:             o.URL,
			UpstreamID:      nonEmpty(o.UpstreamID),
			DurationSeconds: (*json.Number)(nonEmpty(o.DurationSeconds)),
			WatermarkURL:    nonEmpty(o.WatermarkURL),
			ExpiresAt:       &expires,
		}
	}
	return outputs
}

// eventOf makes the event that tells of a change.
func eventOf(done db.Changed, c db.Change, outputs []db.Output) (db.NewEvent, error) {
	data := webhook.Task{
		ID:            done.Task,
		TaskID:        done.TaskID,
		Action:        done.Action,
		Action2:       done.Action2,
		Status:        c.Status,
		StatusMessage: c.StatusMessage,
		ExternalID:    done.ExternalID,
		Metadata:      done.Metadata,
		Sequence:      done.Sequence,
		Outputs:       make([]webhook.Output, len(outputs)),
		CreatedAt:     done.CreatedAt.UTC(),
		FinishedAt:    done.FinishedAt,
	}
	for i, o := range outputs {
		data.Outputs[i] = webhook.Output{
			Kind: o.Kind, Position: o.Position, URL: o.URL, WatermarkURL: o.WatermarkURL, ExpiresAt: o.ExpiresAt,
			DurationSeconds: o.DurationSeconds,
		}
	}
	event := webhook.Event{Type: "task." + c.Status, Timestamp: done.ChangedAt.UTC(), Data: data}
	payload, err := json.Marshal(event)
	if err != nil {
		return db.NewEvent{}, fmt.Errorf("encoding the event: %w", err)
	}
	return db.NewEvent{
		EventID: webhook.NewEventID(), Task: done.Task, Sequence: done.Sequence, Type: event.Type,
		Payload: payload,
	}, nil
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func nonZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
