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
	// keepPauses is how long the pause of a credential that nobody probes is kept
	// for people to look at.
	keepPauses = 24 * time.Hour
)

// keepHouseUntil does what may take long and need not be prompt, at once and then
// regularly, until ctx ends: the sweep must not wait for it.
func keepHouseUntil(ctx context.Context, cfg Config) {
	every := housekeepingEvery * cfg.SweepInterval
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := keepHouse(ctx, cfg); err != nil && ctx.Err() == nil {
			cfg.Log.Warn("housekeeping, trying again", "error", err, "in", every.String())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// keepHouse refreshes the summaries of the reports and deletes what is kept for
// a while only: signing keys whose grace has passed, pauses of credentials that
// were replaced, answers of the API, deliveries, events about endpoints and tasks that ended long
// ago. Several instances may do it at once.
func keepHouse(ctx context.Context, cfg Config) error {
	_, refreshed := db.RefreshReports(ctx, cfg.Pool)
	return errors.Join(
		wrap("refreshing the reports", refreshed),
		wrap("deleting old signing keys", db.PruneKeys(ctx, cfg.Pool)),
		wrap("deleting old pauses", db.PrunePauses(ctx, cfg.Pool, keepPauses)),
		prune(ctx, cfg, "requests", db.PruneRequests, db.KeepRequests),
		prune(ctx, cfg, "deliveries", db.PruneDeliveries, cfg.DeliveryRetention),
		prune(ctx, cfg, "events", db.PruneEndpointEvents, cfg.DeliveryRetention),
		prune(ctx, cfg, "tasks", db.PruneTasks, cfg.Retention))
}

func wrap(doing string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// prune deletes in batches what is older than a time; 0 keeps everything.
func prune(ctx context.Context, cfg Config, what string, some func(context.Context, db.Querier, time.Duration, int) (int, error), older time.Duration) error {
	if older <= 0 {
		return nil
	}
	for ctx.Err() == nil {
		pruned, err := some(ctx, cfg.Pool, older, pruneBatch)
		if err != nil {
			return fmt.Errorf("deleting old %s: %w", what, err)
		}
		cfg.Metrics.Pruned.WithLabelValues(what).Add(float64(pruned))
		if pruned < pruneBatch {
			return nil
		}
	}
	return nil
}
