package operate

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

// Redelivered is where a delivery goes again.
type Redelivered struct {
	URL      string
	Endpoint *int64 // nil: a task's callback_url
	Waits    bool   // its endpoint is disabled; it goes out when that is enabled
}

// Redeliver sends one delivery again, whatever its state.
func Redeliver(ctx context.Context, pool *pgxpool.Pool, id int64) (Redelivered, error) {
	d, err := db.Redeliver(ctx, pool, id)
	if err != nil {
		return Redelivered{}, deliveryError(id, "redelivering", err)
	}
	return Redelivered{d.URL, d.Endpoint, d.Waits}, nil
}

// GetDelivery returns a delivery.
func GetDelivery(ctx context.Context, pool *pgxpool.Pool, id int64) (db.Delivery, error) {
	delivery, err := db.GetDelivery(ctx, pool, id)
	if err != nil {
		return delivery, deliveryError(id, "reading", err)
	}
	return delivery, nil
}

// CancelDelivery stops a delivery that has not arrived yet; a request that is on
// its way may still arrive.
func CancelDelivery(ctx context.Context, pool *pgxpool.Pool, id int64) error {
	canceled, err := db.CancelDelivery(ctx, pool, id)
	if err != nil {
		return deliveryError(id, "canceling", err)
	}
	if canceled {
		return nil
	}
	delivery, err := db.GetDelivery(ctx, pool, id)
	if err != nil {
		return deliveryError(id, "canceling", err)
	}
	return refuse(Conflict, "", "delivery %d has ended already: %s", id, delivery.State)
}

func deliveryError(id int64, doing string, err error) error {
	return missing(err, "delivery", id, doing, "see klingwatch deliveries list")
}
