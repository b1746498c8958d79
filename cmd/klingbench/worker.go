package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/worker"
)

const (
	// serviceConnections is what klingwatch serve opens.
	serviceConnections = 20
	// startPatience bounds the start of a worker.
	startPatience = 20 * time.Second
	// readinessLook is how often a starting worker is looked at.
	readinessLook = time.Millisecond
)

// WorkerPlan is how a service of one measurement is set up.
type WorkerPlan struct {
	DatabaseURL   string
	RelayURL      string
	PollInterval  time.Duration
	PollRate      float64       // requests per second
	LogPolls      bool          // keep when each poll was due
	Retention     time.Duration // of tasks and deliveries; 0: for ever
	SweepInterval time.Duration // 0: the service's
}

// poll is one question of the worker, unix nanoseconds.
type poll struct {
	Task       int64
	Due, Begun int64
}

// Memory of a process, in bytes.
type Memory struct {
	Used      int64 // as it is
	Collected int64 // after a garbage collection that gives unused pages back
}

// workerProcess is klingwatch's worker in a process of its own, set up as
// klingwatch serve does it.
type workerProcess struct {
	ctx context.Context

	mu    sync.Mutex
	polls []poll
}

// Run starts the worker and returns when it works.
func (p *workerProcess) Run(plan WorkerPlan, _ *none) error {
	pool, err := db.Open(p.ctx, plan.DatabaseURL, serviceConnections)
	if err != nil {
		return err
	}
	relay, err := newClient(plan.RelayURL)
	if err != nil {
		return err
	}
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
		cfg.PollHook = p.note
	}
	w := worker.New(cfg)
	go func() {
		err := w.Run(p.ctx)
		fmt.Fprintln(os.Stderr, "the worker ended:", err)
		os.Exit(exitError) // the parent sees it
	}()
	for deadline := time.Now().Add(startPatience); !w.Working(); time.Sleep(readinessLook) {
		if time.Now().After(deadline) {
			return errors.New("the worker does not start")
		}
	}
	return nil
}

// newWebhookClient may reach receivers on this machine.
func newWebhookClient() *webhook.Client {
	return webhook.NewClient(webhook.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
}

// note keeps one poll.
func (p *workerProcess) note(task int64, due, begun time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polls = append(p.polls, poll{task, due.UnixNano(), begun.UnixNano()})
}

// Polls returns what was noted.
func (p *workerProcess) Polls(_ none, polls *[]poll) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	*polls = append([]poll(nil), p.polls...)
	return nil
}

// Memory tells the resident memory before and after a garbage collection.
func (p *workerProcess) Memory(_ none, m *Memory) (err error) {
	if m.Used, err = residentMemory(os.Getpid()); err != nil {
		return err
	}
	debug.FreeOSMemory()
	m.Collected, err = residentMemory(os.Getpid())
	return err
}
