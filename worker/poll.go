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
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading task %d: %w", job.Args.ID, err)
	}
	if db.Terminal(task.Status) && (task.Status != db.Expired || task.Ended > LateChecks) {
		return nil
	}
	m := recall(job.Metadata)
	reply, answer, wait, err := p.ask(ctx, task)
	if err != nil {
		return err
	}
	if wait > 0 {
		return p.hold(ctx, task, m, wait)
	}
	v := judge(task, m, p.NotFoundGrace, reply, answer)
	p.count(task, v, reply)
	if applied, err := p.persist(ctx, task, v, reply); err != nil {
		return err
	} else if !applied {
		return river.JobSnooze(0) // somebody changed the task in between: look again
	}
	return p.next(ctx, task, v)
}

// next plans the poll after a verdict, or ends the job.
func (p *pollWorker) next(ctx context.Context, task db.PollTarget, v verdict) error {
	if err := river.MetadataSet(ctx, memoryKey, v.memory); err != nil {
		return fmt.Errorf("remembering the poll: %w", err)
	}
	switch {
	case v.status == db.Expired:
		wait, again := latePace(task.Ended, rand.Float64())
		if !again {
			return nil
		}
		return river.JobSnooze(wait)
	case db.Terminal(v.status):
		return nil
	}
	return river.JobSnooze(pace(v, p.PollInterval, task.Left, rand.Float64()))
}

// ask makes one exchange with the relay: reply and answer are its outcome. A
// positive wait says that the relay must not be asked now. err is ours, or the
// end of ctx.
func (p *pollWorker) ask(ctx context.Context, task db.PollTarget) (reply *klingapi.Reply, answer error, wait time.Duration, err error) {
	probe, wait, err := p.admitCredential(ctx, time.Now())
	if err != nil || wait > 0 {
		return nil, nil, wait, err
	}
	t, wait := p.gate.admit(time.Now())
	if wait > 0 {
		return nil, nil, wait, nil
	}
	if err := p.limiter.Wait(ctx); err != nil {
		p.gate.cancel(t)
		return nil, nil, 0, stopped(ctx, err)
	}
	begun := time.Now()
	reply, answer = p.Relay.GetTask(ctx, klingapi.Ref{Action: task.Action, Action2: task.Action2, TaskID: task.TaskID})
	if ctx.Err() != nil {
		p.gate.cancel(t)
		return nil, nil, 0, ctx.Err()
	}
	p.Metrics.PollSeconds.Observe(time.Since(begun).Seconds())
	if p.gate.report(t, answer, time.Now()) {
		p.tellGate(answer)
	}
	return reply, answer, 0, p.learn(ctx, probe, answer)
}

func (w *Worker) tellGate(answer error) {
	if relayInTrouble(answer) {
		w.Log.Warn("the relay is in trouble, all polling slows down", "reason", redact(answer.Error()))
		return
	}
	w.Log.Info("the relay answers again")
}

const (
	// holdLongest bounds one snooze while the relay must not be asked, so that
	// polling resumes soon after it may.
	holdLongest = 10 * time.Second
	// holdSpread keeps held tasks from coming back all at once.
	holdSpread = 2 * time.Second
)

// hold waits without asking. The deadline of a task is kept all the same.
func (p *pollWorker) hold(ctx context.Context, task db.PollTarget, m memory, wait time.Duration) error {
	if !db.Terminal(task.Status) && task.Left <= 0 {
		v := expireUnasked(task, m, "the relay could not be asked")
		if _, err := p.persist(ctx, task, v, nil); err != nil {
			return err
		}
		return p.next(ctx, task, v)
	}
	wait = min(wait, holdLongest) + time.Duration(rand.Float64()*float64(holdSpread))
	if !db.Terminal(task.Status) {
		wait = min(wait, task.Left)
	}
	return river.JobSnooze(wait)
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
