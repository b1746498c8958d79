package worker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/worker/deliver"
)

// A job fails where the database is in trouble, and is tried again soon then, or where it
// refuses what the job writes, and is tried again less and less often. It is never given
// up: the task and its deadline, or the delivery, are there.
const (
	outageRetry  = 30 * time.Second     // the longest wait
	refusalRetry = 5 * time.Minute      // the longest wait: each failure stays in the job's row
	longestRetry = refusalRetry * 3 / 2 // with its jitter
)

// retryPolicy spaces the tries of a job.
type retryPolicy struct{ clocks *clocks }

// NextRetry judges by the failures before this one, which River does not tell.
func (p retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	now := time.Now()
	wait := retryWait(job.Errors, now)
	return now.Add(p.clocks.lag() + time.Duration(float64(wait)*(0.5+rand.Float64())))
}

// retryWait is the wait after a failure that followed others, oldest first.
func retryWait(before []rivertype.AttemptError, now time.Time) time.Duration {
	failures := 1
	for i := len(before) - 1; i >= 0 && now.Sub(before[i].At) < 2*refusalRetry; i-- {
		failures++
		now = before[i].At
	}
	if failures == 1 || db.OutageIn(before[len(before)-1].Error) != db.NoOutage {
		return min(time.Duration(failures)*time.Second, outageRetry)
	}
	return min(time.Second<<min(failures-1, 16), refusalRetry)
}

// errorHandler logs job errors in one line each, and of those that are alike one a while.
type errorHandler struct {
	log    *slog.Logger
	logged *repetitions // by failure
}

// failure is what errors that are alike have in common.
type failure struct{ kind, code string }

func newErrorHandler(log *slog.Logger) *errorHandler { return &errorHandler{log, newRepetitions()} }

// HandleError logs an error unless the stop caused it.
func (h *errorHandler) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if errors.Is(err, context.Canceled) || errors.Is(err, deliver.ErrSuspended) {
		return nil
	}
	if db.Transient(err) { // the log counts these
		h.log.ErrorContext(ctx, "job failed, it is tried again", "job", job.ID, "kind", job.Kind, "args", string(job.EncodedArgs), "error", err)
		return nil
	}
	if others, tell := h.logged.note(failure{job.Kind, db.Code(err)}, time.Now()); tell {
		h.log.ErrorContext(ctx, "job failed, it is tried again", "job", job.ID, "kind", job.Kind, "args", string(job.EncodedArgs), "error", err, "others_since_last_line", others)
	}
	return nil
}

// HandlePanic logs a panic with its trace.
func (h *errorHandler) HandlePanic(ctx context.Context, job *rivertype.JobRow, panicVal any, trace string) *river.ErrorHandlerResult {
	h.log.Error("job panicked, this is a bug; it is tried again", "job", job.ID, "kind", job.Kind, "args", string(job.EncodedArgs), "panic", panicVal, "trace", trace)
	return nil
}
