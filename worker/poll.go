package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

// pollArgs is the job of one task; the trigger on tasks inserts it.
type pollArgs struct {
	ID int64 `json:"id"` // tasks.id
}

func (pollArgs) Kind() string { return "poll" }

// memoryKey is where a job's metadata holds its memory.
const memoryKey = "klingwatch"

// pollWorker is the River side of a poll: it hands its task to the poller and
// waits.
type pollWorker struct {
	river.WorkerDefaults[pollArgs]
	loader *loader[db.PollTarget]
	poller *poller
}

// Timeout is none: a job is resident as long as its polls are near. Those of a
// dead process are given back by the others.
func (p *pollWorker) Timeout(*river.Job[pollArgs]) time.Duration { return -1 }

// Work ends when the task is terminal, the next poll is far, or the process
// stops. Trouble with the relay is not a job error; trouble with the database
// is.
func (p *pollWorker) Work(ctx context.Context, job *river.Job[pollArgs]) error {
	task, found, err := p.loader.load(ctx, job.Args.ID)
	if err != nil {
		return err
	}
	if !found || db.Terminal(task.Status) && (task.Status != db.Expired || task.Ended > LateChecks) {
		return nil
	}
	w := p.poller.watch(task, recall(job.Metadata))
	select {
	case r := <-w.done:
		if r.err == nil {
			return nil
		}
		if err := river.MetadataSet(ctx, memoryKey, r.memory); err != nil {
			return fmt.Errorf("remembering the poll: %w", err)
		}
		return r.err
	case <-ctx.Done():
		p.poller.abandon(w)
		return ctx.Err()
	}
}

func (w *Worker) tellGate(answer error) {
	if relayInTrouble(answer) {
		w.Log.Warn("the relay is in trouble, all polling slows down", "reason", redact(answer.Error()))
		return
	}
	w.Log.Info("the relay answers again")
}

// count tells metrics and log of a poll; an unknown word is logged once.
func (w *Worker) count(task db.PollTarget, v verdict, reply *klingapi.Reply) {
	w.Metrics.Polls.WithLabelValues(string(v.outcome)).Inc()
	if !v.unknown {
		return
	}
	w.Metrics.UnknownWords.Inc()
	if w.words.isNew(reply.Record.Word) {
		w.Log.Warn("unknown status word, counted as still running; told once", "word", reply.Record.Word, "task", task.ID, "task_id", task.TaskID)
	}
}

// pollTargets reads tasks by their ids.
func (w *Worker) pollTargets(ctx context.Context, ids []int64) (map[int64]db.PollTarget, error) {
	tasks, err := db.PollTargets(ctx, w.Pool, ids, w.TaskDeadline)
	if err != nil {
		return nil, fmt.Errorf("reading %d tasks: %w", len(ids), err)
	}
	found := make(map[int64]db.PollTarget, len(tasks))
	for _, task := range tasks {
		found[task.ID] = task
	}
	return found, nil
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
