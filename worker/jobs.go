package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/worker/batch"
	"github.com/klingwatch/klingwatch/worker/deliver"
	"github.com/klingwatch/klingwatch/worker/poll"
)

// The jobs of River are shells: what they do is in poll, deliver and db.

// pollArgs is the job of one task; the trigger on tasks inserts it.
type pollArgs struct {
	ID int64 `json:"id"` // tasks.id
}

func (pollArgs) Kind() string { return "poll" }

// memoryKey is where a job's metadata holds the memory of its task.
const memoryKey = "klingwatch"

// pollWorker hands its task to the poller and waits until it leaves.
type pollWorker struct {
	river.WorkerDefaults[pollArgs]
	loader  *batch.Loader[*rivertype.JobRow, *poll.Watched]
	asked   *poll.Relays
	clocks  *clocks
	shallow []rivertype.WorkerMiddleware // reside, in front of River's own layers
}

func newPollWorker(cfg Config, asked *poll.Relays, c *clocks) *pollWorker {
	p := &pollWorker{asked: asked, clocks: c, loader: batch.NewLoader(func(ctx context.Context, jobs []*rivertype.JobRow) (map[*rivertype.JobRow]*poll.Watched, error) {
		return readTasks(ctx, cfg, jobs)
	})}
	p.shallow = []rivertype.WorkerMiddleware{river.WorkerMiddlewareFunc(func(ctx context.Context, job *rivertype.JobRow, _ func(context.Context) error) error {
		return p.reside(ctx, job)
	})}
	return p
}

// readTasks reads the tasks of jobs that are to be asked about.
func readTasks(ctx context.Context, cfg Config, jobs []*rivertype.JobRow) (map[*rivertype.JobRow]*poll.Watched, error) {
	of := make(map[int64][]*rivertype.JobRow, len(jobs))
	for _, job := range jobs {
		id := taskOf(job)
		of[id] = append(of[id], job)
	}
	tasks, err := db.PollTargets(ctx, cfg.Pool, slices.Collect(maps.Keys(of)), cfg.TaskDeadline)
	if err != nil {
		return nil, fmt.Errorf("reading %d tasks: %w", len(of), err)
	}
	found := make(map[*rivertype.JobRow]*poll.Watched, len(jobs))
	for _, task := range tasks {
		if db.Terminal(task.Status) && !task.LateChecks {
			continue
		}
		for _, job := range of[task.ID] {
			found[job] = poll.NewWatched(task, recall(job.Metadata))
		}
	}
	return found, nil
}

// taskOf reads whose job it is; 0: nobody's.
func taskOf(job *rivertype.JobRow) int64 {
	var args pollArgs
	if err := json.Unmarshal(job.EncodedArgs, &args); err != nil {
		return 0
	}
	return args.ID
}

// Timeout is none: a job is resident as long as its polls are near. Those of a
// dead process are given back by the others.
func (p *pollWorker) Timeout(*river.Job[pollArgs]) time.Duration { return -1 }

// Work is what River wants a worker to have; Middleware does the same before it is called.
func (p *pollWorker) Work(ctx context.Context, job *river.Job[pollArgs]) error {
	return p.reside(ctx, job.JobRow)
}

// Middleware does the work itself, before River's own layers are called and the job is
// decoded: a goroutine keeps the stack that it has ever needed for as long as its task is
// here, and this way it needs half as much.
func (p *pollWorker) Middleware(*rivertype.JobRow) []rivertype.WorkerMiddleware {
	return p.shallow
}

// reside hands the task of a job to the poller and waits until it leaves: the task is
// terminal, the next poll is far, or the process stops. Trouble with the relay is not a
// job error; trouble with the database is.
func (p *pollWorker) reside(ctx context.Context, job *rivertype.JobRow) error {
	w, found, err := p.loader.Load(ctx, job)
	if err != nil || !found {
		return err
	}
	p.asked.Admit(w)
	select {
	case d := <-w.Done():
		return p.end(ctx, d)
	case <-ctx.Done():
		p.asked.Abandon(w)
		return ctx.Err()
	}
}

// end has a job end as its task left.
func (p *pollWorker) end(ctx context.Context, d *poll.Departure) error {
	if d.Ended {
		return nil
	}
	if err := river.MetadataSet(ctx, memoryKey, d.Memory); err != nil {
		return fmt.Errorf("remembering the poll: %w", err)
	}
	if d.Err != nil {
		return d.Err
	}
	return p.clocks.snooze(ctx, d.Snooze)
}

// recall reads a job's memory; a job that has none starts anew.
func recall(metadata []byte) poll.Memory {
	var m struct {
		Memory poll.Memory `json:"klingwatch"`
		Woken  time.Time   `json:"woken"` // by db.CallTasks
	}
	if err := json.Unmarshal(metadata, &m); err != nil {
		return poll.Memory{}
	}
	m.Memory.Woken = m.Woken
	return m.Memory
}

// deliverArgs is the job of one delivery; the trigger on deliveries inserts it.
type deliverArgs struct {
	ID int64 `json:"id"` // deliveries.id
}

func (deliverArgs) Kind() string { return "deliver" }

// deliverWorker makes one attempt and snoozes until the next.
type deliverWorker struct {
	river.WorkerDefaults[deliverArgs]
	sender *deliver.Sender
	clocks *clocks
}

// Timeout bounds a job's stay: the wait for its turn, one request and its record.
func (d *deliverWorker) Timeout(*river.Job[deliverArgs]) time.Duration { return deliverJobTimeout }

// Work makes one attempt when it is due.
func (d *deliverWorker) Work(ctx context.Context, job *river.Job[deliverArgs]) error {
	next, again, err := d.sender.Deliver(ctx, job.Args.ID, sleepIn(job.Metadata))
	if err != nil || !again {
		return err
	}
	if err := river.MetadataSet(ctx, sleepKey, next); err != nil {
		return fmt.Errorf("noting what the delivery waits for: %w", err)
	}
	return d.clocks.snooze(ctx, next.Length)
}

// sleepKey is where the metadata of a delivery's job holds what it waits for.
const sleepKey = "sleep"

// sleepIn reads what a job waited for; one that has not waited yet makes the first attempt.
func sleepIn(metadata []byte) deliver.Sleep {
	var m struct {
		Sleep deliver.Sleep `json:"sleep"`
	}
	if err := json.Unmarshal(metadata, &m); err != nil {
		return deliver.Sleep{}
	}
	return m.Sleep
}

// bulkArgs is the job of one bulk action; the trigger on bulk_actions inserts it.
type bulkArgs struct {
	ID int64 `json:"id"` // bulk_actions.id
}

func (bulkArgs) Kind() string { return "bulk" }

// KindAliases are the jobs of bulk redeliveries that the version before began.
func (bulkArgs) KindAliases() []string { return []string{"redeliver"} }

// bulkWorker does something to many tasks or deliveries, some at a time. What is done is
// in the row: it goes on after a crash.
type bulkWorker struct {
	river.WorkerDefaults[bulkArgs]
	cfg    Config
	clocks *clocks
	turn   sync.Mutex // the steps of all actions take turns, so that together they take a part of the time
}

const (
	// bulkPart is the part of the time that bulk actions work; polls and webhooks have the
	// database to themselves in the rest.
	bulkPart = 2. / 3
	// bulkStay is how long an action without a pace goes on before its job is brought back:
	// the queue is asked for it then, which takes a moment.
	bulkStay = 10 * time.Second
)

// Work does one second's worth, or what fits where the action has no pace.
func (b *bulkWorker) Work(ctx context.Context, job *river.Job[bulkArgs]) error {
	ctx = ledger.WithOrderWait(ctx, b.cfg.Metrics.ObserveOrderWait)
	begun, taken := time.Now(), 0
	for {
		step, err := b.step(ctx, job.Args.ID, taken)
		switch taken += step.Taken; {
		case db.RowLocked(err):
			return b.clocks.snooze(ctx, time.Second)
		case err != nil:
			return err
		case step.Finished:
			b.cfg.Log.Info("bulk action is done", "bulk", job.Args.ID)
			return nil
		case step.Enough || step.Paced && time.Since(begun) >= time.Second:
			return b.clocks.snooze(ctx, max(time.Second-time.Since(begun), 0))
		case time.Since(begun) >= bulkStay:
			return b.clocks.snooze(ctx, 0)
		}
	}
}

// step does a step and rests.
func (b *bulkWorker) step(ctx context.Context, id int64, already int) (ledger.Step, error) {
	b.turn.Lock()
	defer b.turn.Unlock()
	begun := time.Now()
	step, err := ledger.CarryOn(ctx, b.cfg.Pool, id, already, b.cfg.TaskDeadline)
	if err != nil || step.Finished || step.Enough {
		return step, err
	}
	select {
	case <-ctx.Done():
		return step, ctx.Err()
	case <-time.After(rest(time.Since(begun), bulkPart)):
		return step, nil
	}
}

// rest is how long nothing is done after work that took so long, and may take a part of the time.
func rest(took time.Duration, part float64) time.Duration {
	return time.Duration(float64(took) * (1 - part) / part)
}

// cancelArgs is the job of a task that klingwatch.cancel was asked to cancel.
type cancelArgs struct {
	ID int64 `json:"id"` // tasks.id
}

func (cancelArgs) Kind() string { return "cancel" }

// cancelWorker cancels what somebody asked for who may not write tasks.
type cancelWorker struct {
	river.WorkerDefaults[cancelArgs]
	cfg Config
}

// Work cancels the task.
func (c *cancelWorker) Work(ctx context.Context, job *river.Job[cancelArgs]) error {
	return ledger.CancelAsked(ledger.WithOrderWait(ctx, c.cfg.Metrics.ObserveOrderWait), c.cfg.Pool, job.Args.ID, c.cfg.TaskDeadline)
}
