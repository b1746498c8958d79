package contender

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/worker"
	"github.com/klingwatch/klingwatch/worker/fetch"
)

const (
	// startPatience bounds the start of a worker.
	startPatience = 2 * time.Minute
	// readinessLook is how often a starting worker is checked.
	readinessLook = time.Millisecond
)

// WorkerRole is the process of klingwatch's worker.
var WorkerRole = process.Role{Name: "worker", Service: func(ctx context.Context) any { return &workerService{ctx: ctx} }}

// workerService is klingwatch's worker, set up as klingwatch serve does it.
type workerService struct {
	ctx    context.Context
	config worker.Config // since Run

	mu    sync.Mutex
	polls []Poll
}

// Run starts the worker and returns when it works.
func (s *workerService) Run(plan ServicePlan, _ *process.None) error {
	pool, err := db.Open(s.ctx, plan.DatabaseURL, serviceConnections)
	if err != nil {
		return err
	}
	if s.config, err = s.configure(pool, plan); err != nil {
		return err
	}
	w := worker.New(s.config)
	go func() {
		err := w.Run(s.ctx)
		fmt.Fprintln(os.Stderr, "running the worker: it ended:", err)
		os.Exit(1) // the parent notices
	}()
	for deadline := time.Now().Add(startPatience); !w.Working(); time.Sleep(readinessLook) {
		if time.Now().After(deadline) {
			return fmt.Errorf("starting the worker: it is not ready after %s", startPatience)
		}
	}
	return nil
}

func (s *workerService) configure(pool *pgxpool.Pool, plan ServicePlan) (worker.Config, error) {
	relay, err := newRelayClient(plan.Relay)
	cfg := worker.Config{
		Pool:         pool,
		Relay:        relay,
		Webhooks:     newWebhookClient(),
		Metrics:      metrics.New(),
		Log:          slog.New(slog.NewJSONHandler(os.Stderr, nil)), // the service's default: its cost is part of the service
		PollInterval: plan.PollInterval, PollRate: plan.PollRate, PollTimeout: klingapi.DefaultTimeout,
		TaskDeadline: 24 * time.Hour, WebhookTimeout: webhook.DefaultTimeout,
		Retention: plan.Retention, DeliveryRetention: plan.Retention, SweepInterval: plan.SweepInterval,
	}
	if plan.LogPolls {
		cfg.PollHook = s.note
	}
	if err == nil && plan.Archive.Setting != "" {
		cfg.Archive, err = s.keep(plan.Archive)
	}
	return cfg, err
}

// keep has files kept, also of hosts on this machine.
func (s *workerService) keep(plan Archive) (*worker.Archive, error) {
	store, err := archive.Open(plan.Setting, plan.DataDir)
	tools := fetch.FindTools(s.ctx)
	if plan.Bare {
		tools.FFmpeg, tools.FFprobe = fetch.Tool{}, fetch.Tool{}
	}
	return &worker.Archive{Store: store, Client: fetch.New(fetch.Config{AllowNetworks: loopback}), Tools: tools}, err
}

// note keeps one poll.
func (s *workerService) note(task int64, due, begun time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls = append(s.polls, Poll{task, due.UnixNano(), begun.UnixNano()})
}

// Polls returns what was noted.
func (s *workerService) Polls(_ process.None, polls *[]Poll) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*polls = slices.Clone(s.polls)
	return nil
}

// Memory returns the memory before and after a garbage collection.
func (s *workerService) Memory(_ process.None, m *process.Memory) (err error) {
	*m, err = process.OwnMemory()
	return err
}
