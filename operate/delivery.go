package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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

// Bulk chooses deliveries to send again.
type Bulk struct {
	Endpoint  *int64    // nil: all receivers, callbacks included
	Since     time.Time // of events since then
	Until     time.Time // of events before then; zero: now
	States    []string  // exhausted, delivered, canceled; at least one
	PerSecond int       // 1 to MaxPerSecond become due in a second
}

// MaxPerSecond bounds how many deliveries a bulk redelivery makes due in a second.
const MaxPerSecond = 500

// RedeliverMany begins a bulk redelivery, which a running service works off. Bulk
// must name an endpoint or a time.
func RedeliverMany(ctx context.Context, pool *pgxpool.Pool, b Bulk) (db.Redelivery, error) {
	if err := b.Check(); err != nil {
		return db.Redelivery{}, err
	}
	if b.Endpoint != nil {
		if _, err := GetEndpoint(ctx, pool, *b.Endpoint); err != nil {
			return db.Redelivery{}, err
		}
	}
	wanted := db.NewRedelivery{Endpoint: b.Endpoint, Since: b.Since, States: b.States, PerSecond: b.PerSecond}
	if !b.Until.IsZero() {
		wanted.Until = &b.Until
	}
	begun, err := db.AddRedelivery(ctx, pool, wanted)
	if err != nil {
		return db.Redelivery{}, fmt.Errorf("beginning the redelivery: %w", err)
	}
	return begun, nil
}

// Check returns an *Error for a choice that cannot be made.
func (b Bulk) Check() error {
	switch {
	case b.Endpoint == nil && b.Since.IsZero():
		return invalid("", "choose what to send again: an endpoint or a time")
	case !b.Until.IsZero() && !b.Until.After(b.Since):
		return invalid("until", "must be later than since")
	case b.PerSecond < 1 || b.PerSecond > MaxPerSecond:
		return invalid("per_second", "must be from 1 to %d, not %d", MaxPerSecond, b.PerSecond)
	case len(b.States) == 0:
		return invalid("state", "must be exhausted, delivered or canceled, at least one of them")
	}
	for _, state := range b.States {
		if state == db.DeliveryPending || !slices.Contains(db.DeliveryStates, state) {
			return invalid("state", "must be exhausted, delivered or canceled, not %q", state)
		}
	}
	return nil
}

// ViewRedelivery returns a bulk redelivery; one that is gone went with its
// endpoint.
func ViewRedelivery(ctx context.Context, pool *pgxpool.Pool, id int64) (db.Redelivery, error) {
	list, err := db.ListRedeliveries(ctx, pool, id, 1)
	if err != nil {
		return db.Redelivery{}, fmt.Errorf("reading the progress of redelivery %d: %w", id, err)
	}
	if len(list) == 0 {
		return db.Redelivery{}, refuse(NotFound, "", "redelivery %d is gone: its endpoint was deleted", id)
	}
	return list[0], nil
}

// StopRedelivery ends a bulk redelivery; what is due already goes out.
func StopRedelivery(ctx context.Context, pool *pgxpool.Pool, id int64) error {
	err := db.StopRedelivery(ctx, pool, id)
	if errors.Is(err, db.ErrNotFound) {
		return refuse(NotFound, "see klingwatch deliveries progress", "no redelivery %d is under way", id)
	}
	if err != nil {
		return fmt.Errorf("stopping redelivery %d: %w", id, err)
	}
	return nil
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
