package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/worker/deliver"
	"github.com/klingwatch/klingwatch/worker/fetch"
	"github.com/klingwatch/klingwatch/worker/poll"
)

// Config sets up a Worker. Pool, Relay, Webhooks, Metrics and Log are required.
type Config struct {
	Pool     *pgxpool.Pool
	Relay    *klingapi.Client // of the settings: the relay default
	Webhooks *webhook.Client
	Metrics  *metrics.Metrics
	Log      *slog.Logger
	Keyring  *keyring.Keyring // opens the stored signing keys; nil: they are stored plainly
	Tracer   trace.Tracer     // of what happens to tasks; nil: nothing is traced
	// UserAgent is how other relays are asked.
	UserAgent string

	PollInterval   time.Duration // between two polls of one task; jittered
	PollRate       float64       // requests per second to Relay
	PollTimeout    time.Duration // of one upstream request, as in Relay
	TaskDeadline   time.Duration // age at which a task without deadline_at becomes expired
	WebhookTimeout time.Duration // of one webhook request, as in Webhooks; at most MaxWebhookTimeout
	// DeliveryRetention is how long deliveries that ended, and events about
	// endpoints, are kept, with their attempts; 0: for ever.
	DeliveryRetention time.Duration
	// Retention is how long tasks that ended are kept, with all that hangs on them;
	// 0: for ever.
	Retention time.Duration
	// Archive keeps the files of tasks; nil: they are not kept.
	Archive       *Archive
	NotFoundGrace time.Duration // 0: poll.DefaultNotFoundGrace
	SweepInterval time.Duration // 0: DefaultSweepInterval
	ProbeDistance time.Duration // between two probes of a refused credential; 0: poll.DefaultProbeDistance

	// PollHook, when set, is called when a request to the relay is about to be
	// sent; for measurements.
	PollHook func(task int64, due, begun time.Time)

	log outageLog // below Log, once New has made it
}

// Archive is where files are kept. Store, Client and Tools are required.
type Archive struct {
	Store     archive.Store
	Client    *fetch.Client
	Tools     *fetch.Tools
	PublicURL string        // where klingwatch is reached, for the links in events; "": nobody said
	Retention time.Duration // how long files are kept; 0: as long as their task
}

// Worker polls tasks and delivers webhooks until it is stopped.
type Worker struct {
	cfg     Config
	working atomic.Bool
	asked   atomic.Pointer[poll.Relays] // of the present run; nil before the first
	sender  *deliver.Sender             // of all runs: what it sent is written when a lost database is back
	book    *relayBook
}

// New returns a worker that does not run yet.
func New(cfg Config) *Worker {
	if cfg.SweepInterval == 0 {
		cfg.SweepInterval = DefaultSweepInterval
	}
	cfg.log = newOutageLog(cfg.Log.Handler())
	cfg.Log = slog.New(cfg.log)
	cfg.Metrics.WatchPool(cfg.Pool)
	return &Worker{cfg: cfg, book: newRelayBook(cfg), sender: deliver.New(deliver.Config{
		Pool: cfg.Pool, Webhooks: cfg.Webhooks, Keyring: cfg.Keyring, Metrics: &cfg.Metrics.Webhooks, OrderWait: cfg.Metrics.ObserveOrderWait, Log: cfg.Log, Tracer: cfg.Tracer,
	})}
}

// newRelays prepares polling; when asking ends, requests on their way are cut off.
func newRelays(asking context.Context, cfg Config) *poll.Relays {
	return poll.NewRelays(asking, poll.Config{
		Pool: cfg.Pool, Metrics: &cfg.Metrics.Polling, OrderWait: cfg.Metrics.ObserveOrderWait, Log: cfg.Log, Tracer: cfg.Tracer,
		Interval: cfg.PollInterval, TaskDeadline: cfg.TaskDeadline, Archive: cfg.Archive != nil,
		NotFoundGrace: cfg.NotFoundGrace, ProbeDistance: cfg.ProbeDistance, TestHook: cfg.PollHook,
	})
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

// Working reports whether River is running, for readiness.
func (w *Worker) Working() bool { return w.working.Load() }

// UnservedPaths lists the paths whose answers are not a relay's, or refuse the key,
// with what they answer.
func (w *Worker) UnservedPaths() []string {
	if asked := w.asked.Load(); asked != nil {
		return asked.UnservedPaths()
	}
	return nil
}

// Unasked lists the relays that this process cannot ask, with the reason.
func (w *Worker) Unasked() []string {
	if asked := w.asked.Load(); asked != nil {
		return asked.Unasked()
	}
	return nil
}

// reconnectWait is the distance of attempts to reach a lost database.
const reconnectWait = time.Second

// Run works until ctx ends and then stops gracefully. A lost database is waited
// for; only the first start returns an error.
func (w *Worker) Run(ctx context.Context) error {
	if w.cfg.WebhookTimeout > MaxWebhookTimeout {
		return fmt.Errorf("a webhook request may take %s, but its job is given up soon after %s: it would be sent twice", w.cfg.WebhookTimeout, MaxWebhookTimeout)
	}
	defer w.cfg.log.outages.forget()
	var wg sync.WaitGroup
	defer wg.Wait()
	observing, stopObserving := context.WithCancel(ctx)
	defer stopObserving()
	w.sender.Start()
	defer w.sender.Close()
	wg.Go(func() { w.observe(observing) })

	err := w.runOnce(ctx)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errLockLost) {
		return err
	}
	for told := ""; ctx.Err() == nil; err = w.runOnce(ctx) {
		w.cfg.Pool.Reset() // its idle connections lead where the lost one led
		if err != nil && err.Error() != told {
			told = err.Error()
			w.cfg.Log.Error("klingwatch does not work, it tries again", "error", err)
		}
		sleep(ctx, reconnectWait)
		if ctx.Err() != nil {
			break
		}
	}
	return nil
}

// runOnce works under one instance id, as long as its lock is held.
func (w *Worker) runOnce(ctx context.Context) error {
	i, err := claimInstance(ctx, w.cfg.Pool)
	if err != nil {
		return err
	}
	defer i.release()
	w.cfg.Pool.Reset() // none of its connections leads to a server that was left
	s := &sweeper{cfg: w.cfg, sender: w.sender, clocks: &clocks{}}
	if err := i.prepare(ctx, w.book.asks(), func(ctx context.Context) error { return w.prepare(ctx, i, s) }); err != nil {
		return err
	}
	return w.work(ctx, i, s)
}

// prepare does what must be done before anything is worked. After a crash there may be
// hundreds of thousands of jobs to give back.
func (w *Worker) prepare(ctx context.Context, i *instance, s *sweeper) error {
	if err := ledger.PrepareKeys(ctx, w.cfg.Pool, w.cfg.Keyring); err != nil {
		return err
	}
	if err := s.shortenWaits(ctx); err != nil {
		return err
	}
	w.sender.Resume()
	return s.returnJobs(ctx, i.slot)
}

// work runs River, the poller and the sweep until ctx ends (nil) or the lock is
// lost. Nothing of ours outlives it.
func (w *Worker) work(ctx context.Context, i *instance, s *sweeper) error {
	asking, stopAsking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAsking()
	asked := newRelays(asking, w.cfg)
	s.asked = asked
	left := &atomic.Bool{}
	heard := newWakeUps()
	driver := wakeDriver{leavable{doneDriver{riverpgxv5.New(w.cfg.Pool)}, left}, heard}
	client, err := newClient(w.cfg, i.id(), driver, s.clocks, newPollWorker(w.cfg, asked, s.clocks), &deliverWorker{sender: w.sender, clocks: s.clocks}, newArchiveWorker(w.cfg, asked, s.clocks))
	if err != nil {
		return fmt.Errorf("preparing River: %w", err)
	}
	instances, share, err := db.ShareWork(ctx, i.conn, i.slot, db.Work{Asks: w.book.asks()})
	if err != nil {
		return err
	}
	asked.SetShare(share, instances)
	queues := &pollQueues{client: client, heard: heard}
	if err := w.book.refresh(ctx, asked); err != nil {
		return err
	}
	joining := time.Duration(0)
	if instances > 1 {
		joining = joinWait
	} else if err := queues.follow(ctx, w.book.queues); err != nil {
		return err
	}
	if err := asked.FollowPauses(ctx); err != nil {
		return err
	}
	asked.EmptyBurst()
	w.asked.Store(asked)
	// River outlives ctx by its soft stop
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("starting River: %w", err)
	}
	w.cfg.Log.Info("working", "instance", i.id(), "poll_rate", w.cfg.PollRate, "poll_interval", w.cfg.PollInterval.String())
	w.working.Store(true)

	dispatching, stopDispatching := context.WithCancel(context.WithoutCancel(ctx))
	sweeping, stopSweeping := context.WithCancel(ctx)
	var wg sync.WaitGroup
	asked.Start()
	wg.Go(func() {
		sleep(dispatching, joining)
		asked.Run(dispatching)
	})
	wg.Go(func() { s.sweepUntil(sweeping) })
	wg.Go(func() { keepHouseUntil(sweeping, w.cfg) })
	wg.Go(func() { tidyFilesUntil(sweeping, w.cfg) })
	wg.Go(func() { asked.Learn(sweeping) })
	wg.Go(func() { i.changes.follow(sweeping, w.cfg.Pool, asked) })
	wg.Go(func() {
		sleep(sweeping, joining-relayLook)
		w.followRelays(sweeping, asked, queues)
	})
	err = i.hold(ctx, asked, w.book.asks)

	w.working.Store(false)
	stopSweeping()
	stopDispatching()
	time.AfterFunc(softStop, stopAsking)
	asked.Drain()
	limit := softStop + hardStop
	if err != nil {
		left.Store(true)
		w.sender.Suspend()
		limit = lostStop
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop(client, limit) }()
	wg.Wait() // the requests on their way have been answered or cut off
	asked.Close()
	if err := <-stopped; err != nil {
		w.cfg.Log.Warn("stopping River", "error", err)
	}
	return err
}

const (
	// relayLook is how often the rows of relays and pauses are read: a change holds
	// everywhere within a few seconds.
	relayLook = time.Second
	// relayLimit bounds one reading.
	relayLimit = 5 * time.Second
)

// followRelays keeps the relays of this process like their rows, until ctx ends.
func (w *Worker) followRelays(ctx context.Context, asked *poll.Relays, queues *pollQueues) {
	troubled := false
	for {
		sleep(ctx, relayLook)
		if ctx.Err() != nil {
			return
		}
		limited, cancel := context.WithTimeout(ctx, relayLimit)
		err := w.book.refresh(limited, asked)
		if err == nil {
			err = errors.Join(asked.FollowPauses(limited), queues.follow(limited, w.book.queues))
		}
		cancel()
		if err != nil && ctx.Err() == nil && !troubled {
			w.cfg.Log.Warn("reading the relays, trying again; what is known of them holds meanwhile", "error", err)
		}
		troubled = err != nil
	}
}

// closeConn bounds what a stop must wait for when the database hangs.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
