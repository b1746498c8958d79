package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
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
	Keyring  *keyring.Keyring // opens the stored signing keys; nil: they are stored plainly
	Tracer   trace.Tracer     // of what happens to tasks; nil: nothing is traced

	PollInterval   time.Duration // between two polls of one task; jittered
	PollRate       float64       // upstream requests per second
	PollTimeout    time.Duration // of one upstream request, as in Relay
	TaskDeadline   time.Duration // age at which a task without deadline_at becomes expired
	WebhookTimeout time.Duration // of one webhook request, as in Webhooks; at most MaxWebhookTimeout
	// DeliveryRetention is how long deliveries that ended are kept, with their
	// attempts; 0: for ever.
	DeliveryRetention time.Duration
	// Retention is how long tasks that ended are kept, with all that hangs on them;
	// 0: for ever.
	Retention     time.Duration
	NotFoundGrace time.Duration // 0: DefaultNotFoundGrace
	SweepInterval time.Duration // 0: DefaultSweepInterval
	// OnPoll, when set, is called when a question is about to be sent; for
	// measurements.
	OnPoll        func(task int64, due, begun time.Time)
	ProbeDistance time.Duration // between two probes of a refused credential; 0: DefaultProbeDistance
}

// Worker polls tasks and delivers webhooks until it is stopped.
type Worker struct {
	Config
	limiter   *rate.Limiter
	gate      gate
	pause     pause
	words     wordLog
	schedules schedules
	working   atomic.Bool
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
	cfg.Metrics.WatchPool(cfg.Pool)
	return &Worker{Config: cfg, limiter: rate.NewLimiter(rate.Limit(cfg.PollRate), burstOf(cfg.PollRate))}
}

// gcPercent halves the work of the garbage collector, which scans the stacks of
// all resident jobs each time: a tenth more polls per second, measured with
// klingbench, for a heap that may grow to three times what is in use.
const gcPercent = 200

// TuneGC sets the garbage collector of a process that works; GOGC, where it is
// set, is left in force.
func TuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// Working tells whether River is running, for readiness.
func (w *Worker) Working() bool { return w.working.Load() }

const (
	// reconnectWait is the distance of attempts to reach a lost database.
	reconnectWait = time.Second
	// steadyAfter is how long a new start must hold for its loss to be told again.
	steadyAfter = 10 * time.Second
	// lockCheck is how often the connection that holds the instance's lock is
	// tried, and the instances are counted.
	lockCheck = time.Second
	// releaseTimeout bounds what a stop must wait for when the database hangs.
	releaseTimeout = time.Second
	// joinWait is how long a new instance leaves the rate to the others: by then
	// they have seen it and share.
	joinWait = lockCheck * 3 / 2
)

// Run works until ctx ends and then stops gracefully. A lost database is waited
// for; only the first start returns an error.
func (w *Worker) Run(ctx context.Context) error {
	if w.WebhookTimeout > MaxWebhookTimeout {
		return fmt.Errorf("a webhook request may take %s, but its job is given up soon after %s: it would be sent twice", w.WebhookTimeout, MaxWebhookTimeout)
	}
	err := w.runOnce(ctx)
	if err != nil && !errors.Is(err, errLockLost) {
		return err
	}
	for lost := false; ctx.Err() == nil; {
		if err != nil && !lost {
			lost = true
			w.Log.Warn("the database connection was lost; klingwatch goes on by itself when it is back", "error", oneLine(err))
		}
		sleep(ctx, reconnectWait)
		if ctx.Err() != nil {
			break
		}
		begun := time.Now()
		err = w.runOnce(ctx)
		lost = lost && time.Since(begun) < steadyAfter
	}
	return nil
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
	if err := PrepareKeys(ctx, w.Pool, w.Keyring); err != nil {
		return err
	}
	returned, err := db.ReturnJobs(ctx, w.Pool, slot)
	if err != nil {
		return err
	}
	w.tellReturned(returned)

	return w.work(ctx, conn, slot)
}

// work runs River, the poller and the sweep until ctx ends (nil) or the lock is
// lost. Nothing of ours outlives it.
func (w *Worker) work(ctx context.Context, conn *pgx.Conn, slot int) error {
	asking, stopAsking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAsking()
	wr := newWriter(w)
	p := newPoller(w, asking, wr)
	wr.settled = p.settled
	loader := &loader[db.PollTarget]{read: w.pollTargets}
	deliveries := newDeliverWorker(w)
	client, err := w.newClient(db.InstanceID(slot), &pollWorker{loader: loader, poller: p}, deliveries)
	if err != nil {
		return fmt.Errorf("preparing River: %w", err)
	}
	instances, share, err := db.ShareWork(ctx, conn, slot, 0)
	if err != nil {
		return err
	}
	w.setRate(share)
	if err := w.followPause(ctx); err != nil {
		return err
	}
	// The bucket starts empty: an earlier life may have used its second up.
	w.limiter.AllowN(time.Now(), w.limiter.Burst())
	// River outlives ctx by its soft stop
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("starting River: %w", err)
	}
	w.Log.Info("working", "instance", db.InstanceID(slot), "poll_rate", w.PollRate, "poll_interval", w.PollInterval.String())
	w.working.Store(true)

	dispatching, stopDispatching := context.WithCancel(context.WithoutCancel(ctx))
	sweeping, stopSweeping := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wr.start()
	deliveries.writer.start()
	wg.Go(func() {
		if instances > 1 {
			sleep(dispatching, joinWait)
		}
		p.run(dispatching)
	})
	wg.Go(func() { w.sweepUntil(sweeping, deliveries.receivers) })
	wg.Go(func() { w.keepHouseUntil(sweeping) })
	wg.Go(func() { w.learnUntil(sweeping) })
	err = w.holdLock(ctx, conn, slot, p)

	w.working.Store(false)
	stopSweeping()
	stopDispatching()
	time.AfterFunc(softStop, stopAsking)
	stopped := make(chan error, 1)
	go func() { stopped <- stop(client) }()
	p.drain()
	wg.Wait() // the questions on their way have been answered or cut off
	wr.close()
	if err := <-stopped; err != nil {
		w.Log.Warn("stopping River", "error", err.Error())
	}
	deliveries.writer.close()
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

// holdLock returns when ctx ends (nil) or the lock's connection is lost. Once a
// second it tells the others how many tasks are here and takes its share of the
// rate; in between it hears of tasks that a person changed.
func (w *Worker) holdLock(ctx context.Context, conn *pgx.Conn, slot int, p *poller) error {
	if err := db.ListenForChanges(ctx, conn); err != nil && ctx.Err() == nil {
		return errLockLost
	}
	var recent [shareMemory]float64
	for n := 0; ctx.Err() == nil; n++ {
		share, err := w.shareWork(ctx, conn, slot, p.residents())
		if err != nil {
			return errLockLost
		}
		recent[n%shareMemory] = share
		w.setRate(slices.Min(recent[:min(n+1, shareMemory)]))
		w.hear(ctx, conn, p)
		if conn.IsClosed() {
			return errLockLost
		}
	}
	return nil
}

// shareMemory seconds must agree until the share grows: by then the instances
// whose share shrinks have seen it too.
const shareMemory = 3

// shareWork is bounded, and more so while the process stops: a database that
// hangs must not hold that up.
func (w *Worker) shareWork(ctx context.Context, conn *pgx.Conn, slot, tasks int) (float64, error) {
	check, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, cancel) })()
	_, share, err := db.ShareWork(check, conn, slot, tasks)
	return share, err
}

// hear passes changes by people on for about a second.
func (w *Worker) hear(ctx context.Context, conn *pgx.Conn, p *poller) {
	ctx, cancel := context.WithTimeout(ctx, lockCheck)
	defer cancel()
	for {
		note, err := conn.WaitForNotification(ctx)
		if err != nil {
			return
		}
		if id, err := strconv.ParseInt(note.Payload, 10, 64); err == nil {
			p.reread(id)
		}
	}
}

// setRate takes this instance's share, from 0 to 1, of the deployment's rate.
func (w *Worker) setRate(share float64) {
	limit := w.PollRate * share
	if w.limiter.Limit() == rate.Limit(limit) {
		return
	}
	w.limiter.SetLimit(rate.Limit(limit))
	w.limiter.SetBurst(burstOf(limit))
}

// burstOf is a fiftieth of a second's worth. The rate allows a tenth; the rest is
// for what bunches up on the way.
func burstOf(limit float64) int { return max(1, int(limit/50)) }

func release(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}
