package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

// pollArgs is the job of one task; the trigger on tasks inserts it.
type pollArgs struct {
	ID int64 `json:"id"` // tasks.id
}

func (pollArgs) Kind() string { return pollQueue }

// memoryKey is where a job's metadata holds its memory.
const memoryKey = "klingwatch"

// pollWorker asks the relay about one task.
type pollWorker struct {
	river.WorkerDefaults[pollArgs]
	*Worker
}

// Timeout bounds one poll: the wait for the rate limit, the exchange, the write.
func (p *pollWorker) Timeout(*river.Job[pollArgs]) time.Duration { return p.pollJobTimeout() }

// Work asks once, writes what changed and snoozes until the next poll is due.
// Trouble with the relay is not a job error; trouble with the database is.
func (p *pollWorker) Work(ctx context.Context, job *river.Job[pollArgs]) error {
	task, err := db.GetPollTarget(ctx, p.Pool, job.Args.ID, p.TaskDeadline)
	if errors.Is(err, db.ErrNotFound) || (err == nil && db.Terminal(task.Status)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading task %d: %w", job.Args.ID, err)
	}
	if err := p.limiter.Wait(ctx); err != nil {
		return stopped(ctx, err)
	}
	reply, err := p.ask(ctx, task)
	if ctx.Err() != nil {
		return ctx.Err()
	}

	v := judge(task, recall(job.Metadata), p.NotFoundGrace, reply, err)
	if err := p.persist(ctx, task, v, reply); err != nil {
		return err
	}
	p.Metrics.Polls.WithLabelValues(string(v.outcome)).Inc()
	if v.unknown {
		p.Metrics.UnknownWords.Inc()
		p.Log.Warn("unknown status word, counted as still running", "task", task.ID, "task_id", task.TaskID, "word", reply.Record.Word)
	}
	if db.Terminal(v.status) {
		return nil
	}
	if err := river.MetadataSet(ctx, memoryKey, v.memory); err != nil {
		return fmt.Errorf("remembering the poll: %w", err)
	}
	return river.JobSnooze(pace(v, p.PollInterval, task.Left, rand.Float64()))
}

// ask makes one exchange with the relay.
func (p *pollWorker) ask(ctx context.Context, task db.PollTarget) (*klingapi.Reply, error) {
	begun := time.Now()
	reply, err := p.Relay.GetTask(ctx, klingapi.Ref{Action: task.Action, Action2: task.Action2, TaskID: task.TaskID})
	p.Metrics.PollSeconds.Observe(time.Since(begun).Seconds())
	return reply, err
}

// recall reads a job's memory; a job that has none starts anew.
func recall(metadata []byte) memory {
	var m struct {
		Memory memory `json:"klingwatch"`
	}
	if err := json.Unmarshal(metadata, &m); err != nil {
		return memory{}
	}
	return m.Memory
}

// stopped prefers the context's own error, which River takes for a stop.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
