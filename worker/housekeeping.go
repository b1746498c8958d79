package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// pruneBatch keeps each deletion short: nobody waits for its locks.
	pruneBatch = 500
	// housekeepingEvery sweeps: once a minute.
	housekeepingEvery = 12
)

// keepHouseUntil does what may take long and need not be prompt, at once and then
// regularly, until ctx ends: the sweep must not wait for it.
func (w *Worker) keepHouseUntil(ctx context.Context) {
	ticker := time.NewTicker(housekeepingEvery * w.SweepInterval)
	defer ticker.Stop()
	for {
		if err := w.keepHouse(ctx); err != nil && ctx.Err() == nil {
			w.Log.Warn("housekeeping, trying again", "error", oneLine(err), "in", (housekeepingEvery * w.SweepInterval).String())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// keepHouse refreshes the summaries of the reports and deletes what is kept for
// a while only: signing keys whose grace has passed, deliveries and tasks that
// ended long ago. Several instances may do it at once.
func (w *Worker) keepHouse(ctx context.Context) error {
	_, refreshed := db.RefreshReports(ctx, w.Pool)
	if refreshed != nil {
		refreshed = fmt.Errorf("refreshing the reports: %w", refreshed)
	}
	keys := db.PruneKeys(ctx, w.Pool)
	if keys != nil {
		keys = fmt.Errorf("deleting old signing keys: %w", keys)
	}
	return errors.Join(refreshed, keys,
		w.prune(ctx, "deliveries", db.PruneDeliveries, w.DeliveryRetention),
		w.prune(ctx, "tasks", db.PruneTasks, w.Retention))
}

// prune deletes in batches what is older than a time; 0 keeps everything.
func (w *Worker) prune(ctx context.Context, what string, some func(context.Context, db.Querier, time.Duration, int) (int, error), older time.Duration) error {
	if older <= 0 {
		return nil
	}
	for ctx.Err() == nil {
		pruned, err := some(ctx, w.Pool, older, pruneBatch)
		if err != nil {
			return fmt.Errorf("deleting old %s: %w", what, err)
		}
		w.Metrics.Pruned.WithLabelValues(what).Add(float64(pruned))
		if pruned < pruneBatch {
			return nil
		}
	}
	return nil
}
