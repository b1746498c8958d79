package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"riverqueue.com/riverui"

	"github.com/klingwatch/klingwatch/worker/deliver"
)

// deliverQueue holds the jobs of deliveries, bulkQueue those of bulk actions, redeliverQueue
// those of bulk redeliveries that the version before began, cancelQueue those of
// cancellations, archiveQueue those of files that are to be kept; queues.go has those of tasks.
const (
	deliverQueue   = "deliver"
	bulkQueue      = "bulk"
	redeliverQueue = "redeliver"
	cancelQueue    = "cancel"
	archiveQueue   = "archive"
)

// River's settings, with the reasons for each.
const (
	schema = "klingwatch"
	// Deliveries here at once, sending or waiting for a slot of their receiver (deliver
	// bounds both), and some that are about to be put off.
	deliverSlots = deliver.MaxResident + 500
	// Bulk actions at once; each sets its own pace.
	bulkSlots = 4
	// Cancellations at once; each is one transaction.
	cancelSlots = 4
	// Files here at once, most of which wait for their turn: the more are here, the better
	// is known which of them expires first.
	archiveSlots = 200
	// A snoozed job that comes due sends no notification, it is found by polling;
	// polls are on time all the same, see fetchAhead. Deliveries are retried after
	// 5 s or more.
	fetchPollInterval = 500 * time.Millisecond
	// The default, 100 ms, would be the floor of the delay from insert to poll.
	fetchCooldown = 20 * time.Millisecond
	// A delivery's stay: its turn, one request and its record. It must exceed the
	// request's timeout, else a request outlives its job and is sent twice.
	deliverJobTimeout = 10 * time.Minute
	// MaxWebhookTimeout is what that leaves for the request.
	MaxWebhookTimeout = 5 * time.Minute
	// River gives up on a running job after this beyond its timeout. Jobs of dead
	// instances are taken over much sooner, by the sweep.
	rescueMargin = time.Minute
	// Jobs that are done are deleted at once, see doneDriver. This is for those that were
	// canceled or given up, to be looked at, and for what the version before left.
	finishedRetention = 2 * time.Minute
	// How long running requests may go on after a stop; they are at most 15-20 s
	// long, and a stop should take less than 10.
	softStop = 4 * time.Second
	hardStop = 2 * time.Second
	// Nothing of River must be left when work begins anew; on a lost database a write may
	// hang, see leavable.
	lostStop = 8 * time.Second
)

func newClient(cfg Config, id string, driver riverdriver.Driver[pgx.Tx], c *clocks, polls *pollWorker, deliveries *deliverWorker, files *archiveWorker) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, polls)
	river.AddWorker(workers, deliveries)
	river.AddWorker(workers, &bulkWorker{cfg: cfg, clocks: c})
	river.AddWorker(workers, &cancelWorker{cfg: cfg})
	queues := map[string]river.QueueConfig{
		deliverQueue: {MaxWorkers: deliverSlots}, bulkQueue: {MaxWorkers: bulkSlots}, redeliverQueue: {MaxWorkers: bulkSlots}, cancelQueue: {MaxWorkers: cancelSlots},
	}
	if files != nil {
		river.AddWorker(workers, files)
		queues[archiveQueue] = river.QueueConfig{MaxWorkers: archiveSlots}
	}
	return river.NewClient(driver, &river.Config{
		ID:                          id,
		Schema:                      schema,
		Queues:                      queues,
		Workers:                     workers,
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           fetchPollInterval,
		JobTimeout:                  deliverJobTimeout,
		RescueStuckJobsAfter:        deliverJobTimeout + rescueMargin,
		CompletedJobRetentionPeriod: finishedRetention,
		CancelledJobRetentionPeriod: finishedRetention,
		DiscardedJobRetentionPeriod: finishedRetention,
		// those that are left, see migrations/003_jobs.sql
		ReindexerIndexNames: []string{
			"river_job_pkey", "river_job_prioritized_fetching_index", "river_job_state_and_finalized_at_index", "river_job_unique_idx",
		},
		RetryPolicy:     retryPolicy{c},
		ErrorHandler:    newErrorHandler(cfg.Log),
		SoftStopTimeout: softStop,
		Logger:          slog.New(cfg.log.forRiver()),
	})
}

// stop lets running jobs finish for a while, then cuts them off; River makes
// jobs that were cut off available again.
func stop(client *river.Client[pgx.Tx], limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return client.Stop(ctx)
}

// JobsPage returns River's own page about jobs and queues, for requests whose path begins with
// prefix. Whoever reaches it may do all that it offers: put what admits people before it. It has a
// client of its own, so that it shows jobs whether this worker runs or not.
func (w *Worker) JobsPage(prefix string) (http.Handler, error) {
	log := slog.New(w.cfg.log.forRiver())
	client, err := river.NewClient(riverpgxv5.New(w.cfg.Pool), &river.Config{Schema: schema, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("preparing River for its page: %w", err)
	}
	// It is not started: that would only have it count all jobs again and again while nobody looks. As it is,
	// it counts up to 10,000 of each state when asked, and estimates what is more.
	page, err := riverui.NewHandler(&riverui.HandlerOpts{Endpoints: riverui.NewEndpoints(client, nil), Prefix: prefix, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("preparing the page about jobs: %w", err)
	}
	return page, nil
}
