package completions

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
)

// completerConnections are enough for completions to overlap: at 200/s three are
// under way at 15 ms each.
const completerConnections = 16

// Completion is the end of a task.
type Completion struct {
	Committing, Committed time.Time // just before its commit was sent, and after it returned
}

// Latency from the commit to an arrival, in unix nanoseconds. Postgres notifies
// the worker of a commit before it answers the client: what arrives before that answer is counted from the sending of the commit.
func (c Completion) Latency(arrived int64) time.Duration {
	if since := time.Duration(arrived - c.Committed.UnixNano()); since >= 0 {
		return since
	}
	return time.Duration(arrived - c.Committing.UnixNano())
}

// Run ends tasks first to last, evenly spaced and each on time however long the
// earlier ones take; it returns them in this order.
func Run(ctx context.Context, databaseURL string, first, last int, distance time.Duration) ([]Completion, error) {
	return run(ctx, databaseURL, first, last, distance, success)
}

// RunKept is Run for tasks whose files are to be kept.
func RunKept(ctx context.Context, databaseURL string, first, last int, distance time.Duration, fileOf func(task int) db.Output) ([]Completion, error) {
	return run(ctx, databaseURL, first, last, distance, func(task db.PollTarget) ledger.Change {
		change, file := success(task), fileOf(int(task.ID))
		file.Task, file.ExpiresAt = task.ID, change.Outputs[0].ExpiresAt
		change.Outputs, change.Archive = []db.Output{file}, true
		return change
	})
}

// run ends tasks by a change of each.
func run(ctx context.Context, databaseURL string, first, last int, distance time.Duration, change func(db.PollTarget) ledger.Change) ([]Completion, error) {
	pool, err := openTraced(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make([]Completion, last-first+1)
	var wg sync.WaitGroup
	for i, begun := 0, time.Now(); i < len(done); i++ {
		if bench.Pause(ctx, time.Until(begun.Add(time.Duration(i)*distance))) != nil {
			break
		}
		wg.Go(func() {
			var err error
			if done[i], err = complete(ctx, pool, first+i, change); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return done, context.Cause(ctx)
}

// complete ends a task as the worker does, but alone in its transaction where the
// worker would write those of 20 ms together.
func complete(ctx context.Context, pool *pgxpool.Pool, task int, change func(db.PollTarget) ledger.Change) (c Completion, err error) {
	target, err := db.GetPollTarget(ctx, pool, int64(task), 0)
	if err != nil {
		return c, fmt.Errorf("reading task %d: %w", task, err)
	}
	applied, err := ledger.Apply(withCommit(ctx, &c.Committing), pool, []ledger.Change{change(target)}, nil)
	c.Committed = time.Now()
	switch {
	case err != nil:
		return c, fmt.Errorf("ending task %d: %w", task, err)
	case !applied[int64(task)]:
		return c, fmt.Errorf("ending task %d: another session has changed it", task)
	case c.Committing.IsZero():
		return c, fmt.Errorf("ending task %d: its commit was not traced", task)
	}
	return c, nil
}

// success is the change that the last reply makes to a task as Prepare leaves
// it.
func success(task db.PollTarget) ledger.Change {
	duration, expires := json.Number(standin.OutputDuration), time.Now().Add(standin.OutputLifetime).UTC()
	return ledger.Change{
		Change: db.Change{
			Task: task.ID, Created: task.CreatedAt, Version: task.Version, From: db.Processing, Status: db.Succeeded, Polls: 6, Polled: true, Deadline: 24 * time.Hour,
			Result: standin.Reply(int(task.ID), true),
		},
		Outputs: []db.Output{{
			Task: task.ID, Kind: "video", URL: standin.OutputURL, DurationSeconds: &duration, ExpiresAt: &expires,
		}},
	}
}

// Latencies returns how long after the end of a task its webhook arrived first, in
// milliseconds, for those of the tasks from first on that are wanted.
func Latencies(done []Completion, first int, wanted func(task int) bool, events map[int]Event, hits []standin.Hit) ([]float64, error) {
	arrived := make(map[string]int64, len(hits))
	for _, h := range hits {
		if _, again := arrived[h.ID]; !again {
			arrived[h.ID] = h.At
		}
	}
	var latencies []float64
	for i, c := range done {
		if !wanted(first + i) {
			continue
		}
		at, found := arrived[events[first+i].EventID]
		if !found {
			return nil, fmt.Errorf("joining webhooks with their arrivals: that of task %d did not arrive, but others arrived more than once", first+i)
		}
		latencies = append(latencies, figures.Milliseconds(c.Latency(at)))
	}
	return latencies, nil
}

// openTraced opens a pool that notes when commits are sent; see withCommit.
func openTraced(ctx context.Context, databaseURL string) (*pgxpool.Pool, error) {
	untraced, err := db.Open(ctx, databaseURL, completerConnections)
	if err != nil {
		return nil, err
	}
	defer untraced.Close()
	config := untraced.Config()
	config.ConnConfig.Tracer = commitTracer{}
	return pgxpool.NewWithConfig(ctx, config)
}

// withCommit makes the commit in ctx leave the moment before it is sent in at.
func withCommit(ctx context.Context, at *time.Time) context.Context {
	return context.WithValue(ctx, commitKey{}, at)
}

type (
	commitKey    struct{}
	commitTracer struct{}
)

// TraceQueryStart is called before a statement is sent.
func (commitTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if at, ok := ctx.Value(commitKey{}).(*time.Time); ok && data.SQL == "commit" {
		*at = time.Now()
	}
	return ctx
}

// TraceQueryEnd has nothing to do.
func (commitTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
