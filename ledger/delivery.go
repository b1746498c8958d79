package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

// Deliveries is what a batch of deliveries came to.
type Deliveries struct {
	Outcomes []db.DeliveryOutcome
	Health   []db.EndpointHealth // the last word of each endpoint in the batch
	Disable  []Disabling         // endpoints that want no more
}

// healthEvery is how often the failures of an endpoint are noted.
const healthEvery = time.Minute

// RecordDeliveries writes attempts, states, the health of endpoints, and
// disables those that want no more, in one transaction. It returns the endpoints
// that were enabled until now. An error for which db.RowLocked holds says that
// somebody has locked a delivery.
func RecordDeliveries(ctx context.Context, pool *pgxpool.Pool, d Deliveries) (disabled []Disabling, err error) {
	err = pgx.BeginTxFunc(ctx, pool, db.LimitLockWait(lockWait), func(tx pgx.Tx) error {
		if err := db.RecordDeliveries(ctx, tx, d.Outcomes); err != nil {
			return err
		}
		if len(d.Health) > 0 {
			if err := db.RecordHealth(ctx, tx, d.Health, healthEvery); err != nil {
				return err
			}
		}
		disabled, err = DisableEndpoints(ctx, tx, d.Disable)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("writing what %d deliveries came to: %w", len(d.Outcomes), err)
	}
	return disabled, nil
}
