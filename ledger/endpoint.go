package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// Disabling is an endpoint that is to be disabled, and why.
type Disabling struct {
	Endpoint int64
	URL      string // the place that is meant: one that was edited meanwhile is left alone; "": whatever it is
	Reason   string
}

// DisableEndpoints disables endpoints, and writes an event for each for the others who
// ask for such. It returns those that were enabled until now.
func DisableEndpoints(ctx context.Context, tx pgx.Tx, list []Disabling) (disabled []Disabling, err error) {
	return TendEndpoints(ctx, tx, list, nil)
}

// Warning is an endpoint that has failed for long and will be disabled, and why.
type Warning struct {
	Endpoint int64
	Reason   string
}

// TendEndpoints is DisableEndpoints that writes an event for each warning as well, and
// remembers that it did. All rows are changed before the first event is written: who has
// the turn to write events waits for no row.
func TendEndpoints(ctx context.Context, tx pgx.Tx, disable []Disabling, warn []Warning) (disabled []Disabling, err error) {
	for _, d := range disable {
		done, err := db.DisableEndpoint(ctx, tx, d.Endpoint, d.URL, d.Reason)
		if err != nil {
			return nil, err
		}
		if done {
			disabled = append(disabled, d)
		}
	}
	for _, w := range warn {
		if err := db.MarkWarned(ctx, tx, w.Endpoint); err != nil {
			return nil, err
		}
	}
	for _, d := range disabled {
		if err := addEndpointEvent(ctx, tx, d.Endpoint, webhook.EndpointDisabled, d.Reason); err != nil {
			return nil, err
		}
	}
	for _, w := range warn {
		if err := addEndpointEvent(ctx, tx, w.Endpoint, webhook.EndpointFailing, w.Reason); err != nil {
			return nil, err
		}
	}
	return disabled, nil
}

// EnableEndpoint lets an endpoint have its events again, what waited first, and
// returns how many deliveries that is. It returns db.ErrNotFound.
func EnableEndpoint(ctx context.Context, pool *pgxpool.Pool, id int64) (released int, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := db.EnableEndpoint(ctx, tx, id); err != nil {
			return err
		}
		released, err = db.ReleaseDeliveries(ctx, tx, id)
		return err
	})
	return released, err
}

// addEndpointEvent writes an event about an endpoint for the others.
func addEndpointEvent(ctx context.Context, tx pgx.Tx, id int64, eventType, reason string) error {
	endpoint, err := db.GetEndpoint(ctx, tx, id)
	if err != nil {
		return err
	}
	// others get this: neither path nor query, which may hold a secret
	data := webhook.Endpoint{
		ID: id, URL: webhook.HostOf(endpoint.URL), FailingSince: utc(endpoint.FailingSince), DisabledAt: utc(endpoint.DisabledAt), Reason: reason,
	}
	payload, err := json.Marshal(webhook.EndpointEvent{Type: eventType, Timestamp: time.Now().UTC(), Data: data})
	if err != nil {
		return fmt.Errorf("encoding the event: %w", err)
	}
	secret, err := eventSecret(ctx, tx)
	if err != nil {
		return err
	}
	occasion := occasionOf(endpoint, eventType)
	for number := 1; ; number++ {
		news, err := db.AddEndpointEvent(ctx, tx, id, webhook.EventID(secret, eventType, number, occasion...), eventType, payload)
		if err != nil {
			return err
		}
		tellOrderWait(ctx, news.Waited)
		if news.Added {
			return nil
		}
	}
}

// occasionOf tells an event about an endpoint from others of its type, in the same words
// if it is lost and written again. An endpoint is disabled once in a revision, unless
// somebody enables it with plain SQL; it may fail, recover and fail again in one.
func occasionOf(endpoint db.Endpoint, eventType string) []string {
	occasion := []string{endpoint.URL, microseconds(endpoint.CreatedAt), strconv.Itoa(endpoint.Revision)}
	if eventType == webhook.EndpointFailing && endpoint.FailingSince != nil {
		occasion = append(occasion, microseconds(*endpoint.FailingSince))
	}
	return occasion
}

// microseconds is a time as exact as the database keeps it.
func microseconds(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }
