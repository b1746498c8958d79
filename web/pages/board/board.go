// Package board knows what the deployment does now, for all who look at the overview: what
// it shows is computed once for all of them, and only while somebody looks.
//
//	board.go   what is shown, and when it is computed
//	shared.go  a value that is computed once for all who ask
package board

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/reports"
	"github.com/klingwatch/klingwatch/doctor"
	"github.com/klingwatch/klingwatch/lookback"
	"github.com/klingwatch/klingwatch/operate"
)

const (
	// pace is the least time between two counts.
	pace = 2 * time.Second
	// old is what a page waits for rather than to show it.
	old = time.Minute
	// shortly is how long a page waits for newer counts than those that it has.
	shortly = 25 * time.Millisecond
	// computing bounds a count.
	computing = 5 * time.Second
	// afterFailure is when to look again where the database did not answer.
	afterFailure = 10 * time.Second
	// checkPace is the least time between two checks of the doctor.
	checkPace = time.Minute
	// checking bounds a check.
	checking = 30 * time.Second
	// CountUpTo bounds the counts.
	CountUpTo = 10_000
	// latestTasks and latestWebhooks are how many are shown.
	latestTasks    = 8
	latestWebhooks = 6
	mostTroubles   = 5
	history        = 23 * time.Hour // before the hour that is now
)

// Board holds what is shown.
type Board struct {
	pool   *pgxpool.Pool
	doctor func(context.Context) []doctor.Finding
	log    *slog.Logger

	now    shared[Now]
	past   shared[[]reports.Hour]
	health shared[[]doctor.Finding]
}

// New returns a board, which asks nothing until somebody looks. Without a doctor it has no
// findings.
func New(pool *pgxpool.Pool, examine func(context.Context) []doctor.Finding, log *slog.Logger) *Board {
	b := &Board{pool: pool, doctor: examine, log: log}
	b.now = shared[Now]{limit: computing, compute: b.count}
	b.past = shared[[]reports.Hour]{limit: computing, compute: func(ctx context.Context) ([]reports.Hour, error) {
		hours, err := reports.Hours(ctx, pool, time.Now().Add(-history))
		return hours, b.noted("hours", err)
	}}
	b.health = shared[[]doctor.Finding]{limit: checking, compute: func(ctx context.Context) ([]doctor.Finding, error) { return examine(ctx), ctx.Err() }}
	return b
}

// Now is what the deployment does at a moment.
type Now struct {
	Open      []reports.Open // of each relay
	Waiting   reports.Waiting
	Pauses    []db.Pause
	Trouble   []reports.Trouble // endpoints
	Processes int
	Tasks     []Task        // to which something happened last
	Webhooks  []db.Delivery // the newest
	hour      []reports.Hour
}

// Task is a task with its files.
type Task struct {
	db.Task
	Outputs []db.Output
}

// Shown is what the overview shows.
type Shown struct {
	Now
	At    time.Time      // when it was counted
	Hours []reports.Hour // the last day, the oldest first; none: they are being counted

	Doctor    bool // there is one
	Findings  []doctor.Finding
	CheckedAt time.Time // zero: not yet
	Checking  bool

	Again  time.Duration // when to look again although nothing happens; 0: never
	failed bool          // the database did not answer
}

// Open is the board as somebody finds it who comes. Counts are some seconds old at most, or
// a minute where the database is slow.
func (b *Board) Open(ctx context.Context) (Shown, error) {
	patience := shortly
	if b.now.age() > old {
		patience = computing
	}
	return b.show(ctx, pace, patience, true)
}

// Follow is the board for somebody who stays. happened: something has happened since the
// last look. Otherwise it asks the database only for what followed from the last event.
func (b *Board) Follow(ctx context.Context, happened bool) (Shown, error) {
	if happened {
		b.now.want(time.Now().Add(pace)) // webhooks and files follow an event
	}
	fresh := forever
	if b.now.isWanted() {
		fresh = pace
	}
	shown, err := b.show(ctx, fresh, computing, happened)
	if b.now.isWanted() {
		shown.Again = sooner(shown.Again, max(pace-b.now.age(), pace/10))
	}
	if shown.failed {
		shown.Again = afterFailure
	}
	return shown, err
}

// show puts together what there is; what is older than fresh is counted anew.
func (b *Board) show(ctx context.Context, fresh, patience time.Duration, examine bool) (Shown, error) {
	day, examined := forever, forever
	if fresh != forever {
		day = time.Since(time.Now().Truncate(time.Hour))
	}
	if examine {
		examined = checkPace
	}
	b.past.begin(day)
	now, at, known, err := b.now.get(ctx, fresh, patience)
	if !known {
		return Shown{}, err
	}
	shown := Shown{Now: now, At: at, Doctor: b.doctor != nil, failed: err != nil}
	if b.past.age() == forever {
		patience = computing
	}
	if past, _, known, err := b.past.get(ctx, day, patience); known {
		shown.Hours = withNow(past, now.hour)
	} else {
		shown.Again, shown.failed = pace, err != nil
	}
	if !shown.Doctor {
		return shown, nil
	}
	shown.Findings, shown.CheckedAt, _, _ = b.health.get(ctx, examined, 0)
	if shown.Checking = b.health.computes(); shown.Checking {
		shown.Again = sooner(shown.Again, pace/4)
	}
	return shown, nil
}

// withNow puts the newest hours in the place of what they were when the day was counted.
func withNow(day, newest []reports.Hour) []reports.Hour {
	var hours []reports.Hour
	for _, hour := range day {
		if len(newest) == 0 || hour.At.Before(newest[0].At) {
			hours = append(hours, hour)
		}
	}
	return append(hours, newest...)
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// count asks for everything that changes all the time: bounded, by what indexes find.
func (b *Board) count(ctx context.Context) (n Now, err error) {
	steps := []func() error{
		func() (err error) { n.Open, err = reports.OpenTasks(ctx, b.pool, CountUpTo+1); return err },
		func() (err error) { n.Waiting, err = reports.CountWaiting(ctx, b.pool, CountUpTo+1); return err },
		func() (err error) { n.Pauses, err = operate.Pauses(ctx, b.pool); return err },
		func() (err error) { n.Trouble, err = reports.EndpointTrouble(ctx, b.pool, mostTroubles+1); return err },
		func() (err error) { n.Processes, err = operate.Processes(ctx, b.pool); return err },
		func() (err error) { n.Tasks, err = b.tasks(ctx); return err },
		func() error {
			page, err := db.ListDeliveries(ctx, b.pool, db.DeliveryChoice{}, lookback.Search{Limit: latestWebhooks, Within: shortly})
			n.Webhooks = page.Items
			return err
		},
		func() (err error) { n.hour, err = reports.Hours(ctx, b.pool, time.Now()); return err },
	}
	for _, step := range steps {
		err = errors.Join(err, step())
	}
	return n, b.noted("counts", err)
}

// tasks are those to which something happened last, that one first.
func (b *Board) tasks(ctx context.Context) ([]Task, error) {
	ids, err := reports.LatestTasks(ctx, b.pool, latestTasks)
	if err != nil {
		return nil, err
	}
	found, err := db.TasksOf(ctx, b.pool, ids)
	if err != nil {
		return nil, err
	}
	outputs, err := db.OutputsOfTasks(ctx, b.pool, ids)
	if err != nil {
		return nil, err
	}
	tasks := make([]Task, 0, len(ids))
	for _, id := range ids {
		for _, task := range found {
			if task.ID == id {
				tasks = append(tasks, Task{Task: task, Outputs: ofTask(outputs, id)})
			}
		}
	}
	return tasks, nil
}

func ofTask(outputs []db.Output, task int64) (own []db.Output) {
	for _, o := range outputs {
		if o.Task == task {
			own = append(own, o)
		}
	}
	return own
}

func (b *Board) noted(what string, err error) error {
	if err != nil {
		b.log.Warn("the overview could not be brought up to date", "of", what, "error", err)
	}
	return err
}
