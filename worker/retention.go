package worker

import (
	"context"
	"fmt"

	"github.com/klingwatch/klingwatch/db"
)

// pruneBatch keeps each deletion short: nobody waits for its locks.
const pruneBatch = 1000

// prune deletes what is kept for a while only: signing keys whose grace has
// passed, and deliveries that ended long ago with their attempts.
func (w *Worker) prune(ctx context.Context) error {
	if err := db.PruneKeys(ctx, w.Pool); err != nil {
		return fmt.Errorf("deleting old signing keys: %w", err)
	}
	if w.DeliveryRetention <= 0 {
		return nil
	}
	for ctx.Err() == nil {
		pruned, err := db.PruneDeliveries(ctx, w.Pool, w.DeliveryRetention, pruneBatch)
		if err != nil {
			return fmt.Errorf("deleting old deliveries: %w", err)
		}
		w.Metrics.Pruned.Add(float64(pruned))
		if pruned < pruneBatch {
			return nil
		}
	}
	return nil
}
