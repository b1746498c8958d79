package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/time/rate"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/webhook"
)

// Config sets up a Worker. Pool, Relay, Webhooks, Metrics and Log are required.
type Config struct {
	Pool     *pgxpool.Pool
	Relay    *klingapi.Client
	Webhooks *webhook.Client
	Metrics  *metrics.Metrics
	Log      *slog.Logger

	PollInterval   time.Duration // between two polls of one task; jittered
	PollRate       float64       // upstream requests per second
	PollTimeout    time.Duration // of one upstream request, as in Relay
	TaskDeadline   time.Duration // age at which a task without deadline_at becomes expired
	WebhookTimeout time.Duration // of one webhook request, as in Webhooks
	NotFoundGrace  time.Duration // 0: DefaultNotFoundGrace
	SweepInterval  time.Duration // 0: DefaultSweepInterval
	ProbeDistance  time.Duration // between two probes of a refused credential; 0: DefaultProbeDistance
}

// Worker polls tasks and delivers webhooks until it is stopped.
type Worker struct {
	Config
	limiter *rate.Limiter
	gate    gate
	pause   pause
	words   wordLog
	working atomic.Bool
}

// New returns a worker that does not run yet.
func New(cfg Config) *Worker {
	if cfg.NotFoundGrace == 0 {
		cfg.NotFoundGrace = DefaultNotFoundGrace
	}
	if cfg.ProbeDistance == 0 {
		cfg.ProbeDistance = DefaultProbeDistance
	}
	if cfg.SweepInterval == 0 {
		cfg.SweepInterval = DefaultSweepInterval
	}
	// a tenth of a second's worth may go at once
	burst := max(1, int(cfg.PollRate/10))
	return &Worker{Config: cfg, limiter: rate.NewLimiter(rate.Limit(cfg.PollRate), burst)}
}

// Working tells whether River is running, for readiness.
func (w *Worker) Working() bool { return w.working.Load() }

const (
	// reconnectWait is the distance of attempts to reach a lost database.
	reconnectWait = time.Second
	// lockCheck is how often the connection that holds the instance's lock is tried.
	lockCheck = 2 * time.Second
)

// Run works until ctx ends and then stops gracefully. A lost database is waited
// for; only the first start returns an error.
func (w *Worker) Run(ctx context.Context) error {
	for first := true; ; first = false {
		err := w.runOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if first && err != nil && !errors.Is(err, errLockLost) {
			return err
		}
		w.Log.Warn("the database connection was lost, starting again", "error", err.Error(), "in", reconnectWait.String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectWait):
		}
	}
}

// errLockLost says that the connection that shows that we live broke: others
// may take over our jobs, so we start anew under a lock of our own.
var errLockLost = errors.New("the connection that holds the instance's lock is gone")

// runOnce works under one instance id, as long as its lock is held.
func (w *Worker) runOnce(ctx context.Context) error {
	conn, slot, err := w.claim(ctx)
	if err != nil {
		return err
	}
	defer release(conn)
	if err := db.EnsureDeploymentKey(ctx, w.Pool, webhook.NewSecret()); err != nil {
		return fmt.Errorf("preparing the signing key: %w", err)
	}
	returned, err := db.ReturnJobs(ctx, w.Pool, slot)
	if err != nil {
		return err
	}
	w.tellReturned(returned)

	// The client outlives ctx by its soft stop; River ends it, not our context.
	client, err := w.newClient(db.InstanceID(slot))
	if err != nil {
		return fmt.Errorf("preparing River: %w", err)
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("starting River: %w", err)
	}
	w.Log.Info("working", "instance", db.InstanceID(slot), "poll_rate", w.PollRate, "poll_interval", w.PollInterval.String())
	w.working.Store(true)

	sweeping, stopSweeping := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { w.sweepUntil(sweeping) })
	err = holdLock(ctx, conn)
	w.working.Store(false)
	stopSweeping()
	wg.Wait()
	if stopErr := stop(client); stopErr != nil {
		w.Log.Warn("stopping River", "error", stopErr.Error())
	}
	return err
}

// claim opens a connection of its own for the instance's lock: a pool would
// close it when idle.
func (w *Worker) claim(ctx context.Context) (*pgx.Conn, int, error) {
	conn, err := pgx.ConnectConfig(ctx, w.Pool.Config().ConnConfig)
	if err != nil {
		return nil, 0, fmt.Errorf("connecting for the instance's lock: %w", err)
	}
	slot, err := db.ClaimInstance(ctx, conn)
	if err != nil {
		release(conn)
		return nil, 0, err
	}
	return conn, slot, nil
}

// holdLock returns when ctx ends (nil) or the lock's connection is lost.
func holdLock(ctx context.Context, conn *pgx.Conn) error {
	ticker := time.NewTicker(lockCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		check, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
		err := conn.Ping(check)
		cancel()
		if err != nil {
			return errLockLost
		}
	}
}

func release(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}
