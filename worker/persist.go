package worker

import (
	"context"
	"encoding/json"
	"fmt"
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

// persist writes what a poll changed, and nothing when it changed nothing. It
// returns false when somebody else changed the task in between.
func (w *Worker) persist(ctx context.Context, task db.PollTarget, v verdict, reply *klingapi.Reply) (applied bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	news := v.status != task.Status
	newWord := reply != nil && reply.Record.Word != task.UpstreamStatus
	switch {
	case news || newWord && !v.late:
		c, outputs := changeOf(task, v, reply, w.TaskDeadline), outputsOf(task.ID, v, reply)
		applied, err := write(ctx, w.Pool, c, outputs)
		if applied && news {
			w.tellChange(task, c, len(outputs))
		}
		return applied, err
	case v.trouble != task.LastError:
		if err := db.RecordTrouble(ctx, w.Pool, task.ID, v.trouble, v.memory.Polls); err != nil {
			return false, fmt.Errorf("writing the trouble of task %d: %w", task.ID, err)
		}
		w.Log.Info("poll trouble", "task", task.ID, "task_id", task.TaskID, "outcome", string(v.outcome), "trouble", redact(v.trouble))
	}
	return true, nil
}

// write changes a task with everything that follows from it in one
// transaction: outputs, event, deliveries and their jobs. It returns false, and
// writes nothing, when the task has not the expected status any more.
func write(ctx context.Context, pool *pgxpool.Pool, c db.Change, outputs []db.Output) (applied bool, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		done, err := db.ApplyChanges(ctx, tx, []db.Change{c})
		applied = len(done) > 0
		if err != nil || !applied || c.Status == c.From {
			return err
		}
		if err := db.AddOutputs(ctx, tx, outputs); err != nil {
			return err
		}
		event, err := eventOf(done[0], c, outputs)
		if err != nil {
			return err
		}
		return db.AddEvents(ctx, tx, []db.NewEvent{event})
	})
	if err != nil {
		return false, fmt.Errorf("writing the change of task %d: %w", c.Task, err)
	}
	return applied, nil
}

func (w *Worker) tellChange(task db.PollTarget, c db.Change, outputs int) {
	w.Metrics.StatusChanges.WithLabelValues(c.Status).Inc()
	w.Log.Info("task status", "task", task.ID, "task_id", task.TaskID, "action", task.Action, "action2", task.Action2,
		"from", c.From, "status", c.Status, "message", redact(c.StatusMessage), "polls", c.Polls, "outputs", outputs,
		"age", task.Age.Round(time.Millisecond).String())
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
		Payload: payload, Terminal: db.Terminal(c.Status),
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
