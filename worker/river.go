package worker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// The queues are named like their kinds of jobs.
const (
	pollQueue    = "poll"
	deliverQueue = "deliver"
)

// River's settings, with the reasons for each.
const (
	schema = "klingwatch"
	// A poll job holds its slot while it waits for the rate limit and the relay:
	// at 50 polls/s and 15 s per exchange, 750 slots never starve the rate.
	pollSlots = 1000
	// A webhook may take 20 s; slow receivers must not hold up the others.
	deliverSlots = 200
	// A snoozed job that comes due sends no notification, it is found by polling.
	fetchPollInterval = 100 * time.Millisecond
	// The default, 100 ms, would be the floor of the delay from insert to poll.
	fetchCooldown = 20 * time.Millisecond
	// What a poll or an attempt may need beside its request: the wait for the
	// rate limit, two writes.
	jobMargin = 30 * time.Second
	// River gives up on a running job after this beyond its timeout. Jobs of dead
	// instances are taken over much sooner, by the sweep.
	rescueMargin = time.Minute
	// The truth about a task is in tasks; a finished job is only of use to look at.
	finishedRetention = time.Hour
	// How long running requests may go on after a stop; they are at most 15-20 s
	// long, and a stop should take less than 10.
	softStop = 5 * time.Second
	hardStop = 3 * time.Second
	// Jobs fail when the database does; they are tried again soon, for ever.
	maxRetryWait = 30 * time.Second
)

func (w *Worker) pollJobTimeout() time.Duration    { return w.PollTimeout + jobMargin }
func (w *Worker) deliverJobTimeout() time.Duration { return w.WebhookTimeout + leaseMargin + jobMargin }

func (w *Worker) newClient(id string) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &pollWorker{Worker: w})
	river.AddWorker(workers, &deliverWorker{Worker: w})
	jobTimeout := max(w.pollJobTimeout(), w.deliverJobTimeout())
	return river.NewClient(riverpgxv5.New(w.Pool), &river.Config{
		ID:     id,
		Schema: schema,
		Queues: map[string]river.QueueConfig{
			pollQueue:    {MaxWorkers: pollSlots},
			deliverQueue: {MaxWorkers: deliverSlots},
		},
		Workers:                     workers,
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           fetchPollInterval,
		JobTimeout:                  jobTimeout,
		RescueStuckJobsAfter:        jobTimeout + rescueMargin,
		CompletedJobRetentionPeriod: finishedRetention,
		CancelledJobRetentionPeriod: finishedRetention,
		DiscardedJobRetentionPeriod: finishedRetention,
		RetryPolicy:                 retryPolicy{},
		ErrorHandler:                &errorHandler{log: w.Log},
		SoftStopTimeout:             softStop,
		Logger:                      slog.New(quiet{w.Log.Handler()}),
	})
}

// stop lets running jobs finish for a while, then cuts them off; River makes
// jobs that were cut off available again.
func stop(client *river.Client[pgx.Tx]) error {
	ctx, cancel := context.WithTimeout(context.Background(), softStop+hardStop)
	defer cancel()
	return client.Stop(ctx)
}

// retryPolicy spaces the retries of jobs that failed, which is the database's
// fault or ours.
type retryPolicy struct{}

func (retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	wait := min(time.Duration(len(job.Errors)+1)*time.Second, maxRetryWait)
	return time.Now().Add(time.Duration(float64(wait) * (0.5 + rand.Float64())))
}

// errorHandler tells of job errors in one line each.
type errorHandler struct{ log *slog.Logger }

func (h *errorHandler) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if !errors.Is(err, context.Canceled) {
		h.log.Error("job failed, it is tried again", "job", job.ID, "kind", job.Kind, "args", string(job.EncodedArgs), "error", err.Error())
	}
	return nil
}

func (h *errorHandler) HandlePanic(ctx context.Context, job *rivertype.JobRow, panicVal any, trace string) *river.ErrorHandlerResult {
	h.log.Error("job panicked, this is a bug; it is tried again", "job", job.ID, "kind", job.Kind, "args", string(job.EncodedArgs), "panic", panicVal, "trace", trace)
	return nil
}

// quiet passes River's own log on from warnings upwards.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }
func (q quiet) WithGroup(name string) slog.Handler       { return quiet{q.Handler.WithGroup(name)} }
