package webhooks

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// driverConnections are enough for completions to overlap: at 200/s three are
// under way at 15 ms each.
const driverConnections = 16

// completion is a task that has become terminal.
type completion struct {
	eventID               string    // the webhook-id
	committing, committed time.Time // just before its commit was sent, and after it returned
}

// latency from the commit to an arrival, in unix nanoseconds. Postgres tells
// listeners of a commit before its client hears of it: a webhook that was so
// quick is counted from the sending of the commit.
func (c completion) latency(arrived int64) time.Duration {
	if since := time.Duration(arrived - c.committed.UnixNano()); since >= 0 {
		return since
	}
	return time.Duration(arrived - c.committing.UnixNano())
}

// completeAll ends tasks 1 to n, evenly spaced and each on time however long the
// earlier ones take; it returns them in this order.
func completeAll(ctx context.Context, databaseURL string, n int, distance time.Duration) ([]completion, error) {
	pool, err := db.Open(ctx, databaseURL, driverConnections)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make([]completion, n)
	var wg sync.WaitGroup
	for i, begun := 0, time.Now(); i < n; i++ {
		if bench.Pause(ctx, time.Until(begun.Add(time.Duration(i)*distance))) != nil {
			break
		}
		wg.Go(func() {
			var err error
			if done[i], err = complete(ctx, pool, int64(i)+1); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return done, context.Cause(ctx)
}

// complete ends a task with the statements of the worker, but alone in its
// transaction where the worker would write those of 20 ms together.
func complete(ctx context.Context, pool *pgxpool.Pool, task int64) (c completion, err error) {
	c.eventID = webhook.NewEventID()
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		done, err := db.ApplyChanges(ctx, tx, []db.Change{succeeded(task)})
		if err != nil {
			return err
		}
		if len(done) != 1 {
			return fmt.Errorf("%d tasks changed", len(done))
		}
		if err := db.RemoveOutputs(ctx, tx, []int64{task}); err != nil {
			return err
		}
		if err := db.AddOutputs(ctx, tx, []db.Output{outputOf(task)}); err != nil {
			return err
		}
		payload, err := payloadOf(done[0])
		if err != nil {
			return err
		}
		event := db.NewEvent{EventID: c.eventID, Task: task, Sequence: done[0].Sequence, Type: webhook.TaskSucceeded, Payload: payload}
		err = db.AddEvents(ctx, tx, []db.NewEvent{event})
		c.committing = time.Now()
		return err
	})
	c.committed = time.Now()
	if err != nil {
		return c, fmt.Errorf("ending task %d: %w", task, err)
	}
	return c, nil
}

// succeeded is the change that the last reply brings.
func succeeded(task int64) db.Change {
	return db.Change{
		Task: task, From: db.Processing, Status: db.Succeeded, Polls: 6, Polled: true, Deadline: 24 * time.Hour,
		Result: standin.Reply(int(task), true),
	}
}

// outputOf a task is the one in its last reply.
func outputOf(task int64) db.Output {
	duration := json.Number("5.041")
	expires := time.Now().Add(30 * 24 * time.Hour).UTC()
	return db.Output{
		Task: task, Kind: "video", URL: "https://files.example/v1.mp4", DurationSeconds: &duration, ExpiresAt: &expires,
	}
}

// payloadOf is the body of the webhook that tells of a success, in the shape of
// the worker's.
func payloadOf(done db.Changed) ([]byte, error) {
	output := outputOf(done.Task)
	return json.Marshal(webhook.Event{
		Type: webhook.TaskSucceeded, Timestamp: done.ChangedAt.UTC(), Data: webhook.Task{
			ID: done.Task, TaskID: done.TaskID, Action: done.Action, Action2: done.Action2, Status: db.Succeeded,
			Metadata: done.Metadata, Sequence: done.Sequence, CreatedAt: done.CreatedAt.UTC(), FinishedAt: done.FinishedAt,
			Outputs: []webhook.Output{{Kind: output.Kind, URL: output.URL, DurationSeconds: output.DurationSeconds, ExpiresAt: output.ExpiresAt}},
		},
	})
}
