package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// DefaultSweepInterval bounds how long the jobs of a dead process wait.
	DefaultSweepInterval = 5 * time.Second
	// lookEvery sweeps, rows without a job are looked for: that reads all open
	// tasks, 0.1 s at 50,000.
	lookEvery = 3
	// maxWake bounds how many jobs that are due are woken at once.
	maxWake = 10_000
)

// sweepUntil sweeps at once and then regularly, until ctx ends.
func (w *Worker) sweepUntil(ctx context.Context, r *receivers) {
	ticker := time.NewTicker(w.SweepInterval)
	defer ticker.Stop()
	for n := 0; ; n++ {
		err := w.sweep(ctx, n%lookEvery == 0)
		open, sending := r.survey()
		w.Metrics.BreakersOpen.Set(float64(open))
		w.Metrics.WebhooksSending.Set(float64(sending))
		if err != nil && ctx.Err() == nil {
			w.Log.Warn("sweeping, trying again", "error", err.Error(), "in", w.SweepInterval.String())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// sweep learns of a pause and gives back the jobs of instances that are gone;
// with look it gives jobs to rows that have none. Several instances may do it
// at once: all of it is idempotent.
func (w *Worker) sweep(ctx context.Context, look bool) error {
	if err := w.followPause(ctx); err != nil {
		return err
	}
	returned, err := db.ReturnJobs(ctx, w.Pool, 0)
	if err != nil {
		return err
	}
	w.tellReturned(returned)
	if _, err := db.WakeDueJobs(ctx, w.Pool, maxWake); err != nil {
		return err
	}
	if !look {
		return nil
	}
	if err := w.watchEndpoints(ctx); err != nil {
		return err
	}
	// an endpoint may have been enabled while an event was written, or by plain SQL
	if _, err := db.ReleaseParked(ctx, w.Pool); err != nil {
		return fmt.Errorf("releasing parked deliveries: %w", err)
	}
	given, err := db.GiveMissingJobs(ctx, w.Pool)
	if err != nil {
		return err
	}
	if given > 0 {
		w.Metrics.MissingJobs.Add(float64(given))
		w.Log.Warn("gave jobs to tasks and deliveries that had none", "jobs", given)
	}
	return w.measure(ctx)
}

func (w *Worker) tellReturned(returned int) {
	if returned > 0 {
		w.Metrics.ReturnedJobs.Add(float64(returned))
		w.Log.Info("took over jobs of an instance that is gone", "jobs", returned)
	}
}
