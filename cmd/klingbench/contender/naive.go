package contender

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/migrations"
)

// The naive service is tuned as far as River's settings go: its defaults are
// ten times slower.
const (
	naiveWorkers   = 1000
	naiveFetchPoll = 100 * time.Millisecond // a snoozed job that comes due is only found by polling
	naiveCooldown  = 20 * time.Millisecond  // the default of 100 ms would limit it to 10 fetches/s
)

// NaiveRole is the process of the naive service. PrepareNaive gives it its tasks.
var NaiveRole = process.Role{Name: "naive", Service: func(ctx context.Context) any { return &naiveService{ctx: ctx} }}

// naiveArgs is the job of one task. It holds all that a poll needs, so that
// nothing is read from the database.
type naiveArgs struct {
	ID int64 `json:"id"`
}

// Kind is also the name of the queue.
func (naiveArgs) Kind() string { return "naive" }

// naiveWorker polls a task and snoozes until its next poll.
type naiveWorker struct {
	river.WorkerDefaults[naiveArgs]
	pool     *pgxpool.Pool
	relay    *klingapi.Client
	interval time.Duration
}

// Work polls once.
func (n *naiveWorker) Work(ctx context.Context, job *river.Job[naiveArgs]) error {
	reply, err := n.relay.GetTask(ctx, refOf(int(job.Args.ID)))
	if err != nil {
		return err
	}
	if !reply.Record.Status.Ended() {
		return river.JobSnooze(n.interval)
	}
	return finishNaive(ctx, n.pool, job.Args.ID, reply.Body)
}

// naiveService is a River job per task.
type naiveService struct{ ctx context.Context }

// Run starts the service and returns.
func (n *naiveService) Run(plan ServicePlan, _ *process.None) error {
	pool, err := db.Open(n.ctx, plan.DatabaseURL, serviceConnections) // with custom plans
	if err != nil {
		return err
	}
	relay, err := newRelayClient(plan.Relay)
	if err != nil {
		return err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &naiveWorker{pool: pool, relay: relay, interval: plan.PollInterval})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		ID:                "naive",
		Schema:            migrations.Schema,
		Queues:            map[string]river.QueueConfig{naiveArgs{}.Kind(): {MaxWorkers: naiveWorkers}},
		Workers:           workers,
		FetchPollInterval: naiveFetchPoll,
		FetchCooldown:     naiveCooldown,
		Logger:            slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return fmt.Errorf("preparing River: %w", err)
	}
	if err := client.Start(n.ctx); err != nil {
		return fmt.Errorf("starting River: %w", err)
	}
	return nil
}
