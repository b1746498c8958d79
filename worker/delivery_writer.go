package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

const (
	// writePatience is how long a lost database is waited for with what a request
	// came to: a record that is lost means a webhook that is sent twice.
	writePatience = 8 * time.Second
	writeRetry    = 250 * time.Millisecond
	// lockWait bounds the wait for a row that somebody has locked, lockPatience the
	// time until its webhook is sent again instead.
	lockWait     = 500 * time.Millisecond
	lockPatience = time.Minute
)

// deliveryWriter writes what deliveries came to, many in one transaction:
// attempts, states, the health of endpoints.
type deliveryWriter struct {
	*Worker
	*batcher[*deliveryRecord]
}

// deliveryRecord is an outcome to be written.
type deliveryRecord struct {
	target       db.DeliveryTarget
	outcome      db.DeliveryOutcome
	result       *webhook.Result // nil: nothing was sent
	begun, ended time.Time       // of the request
	written      chan error      // one value
}

func newDeliveryWriter(w *Worker) *deliveryWriter {
	d := &deliveryWriter{Worker: w}
	d.batcher = newBatcher(d.write)
	return d
}

// write writes a batch. While the database is away it tries again for a while.
// On any other trouble each record is written alone: one that cannot be written
// must not let the others be sent twice.
func (d *deliveryWriter) write(batch []*deliveryRecord) {
	deadline := time.Now().Add(writePatience)
	for {
		err := d.writeOnce(batch)
		switch {
		case err == nil:
		case passing(err) && !d.closing() && time.Now().Before(deadline):
			time.Sleep(writeRetry)
			continue
		case !passing(err):
			for _, r := range batch {
				d.writeAlone(r)
			}
			return
		}
		for _, r := range batch {
			r.written <- err
		}
		return
	}
}

// writeAlone writes one record. One whose row somebody keeps locked goes to the
// end of the line, without holding up the others.
func (d *deliveryWriter) writeAlone(r *deliveryRecord) {
	err := d.writeOnce([]*deliveryRecord{r})
	if locked(err) && !d.closing() && time.Since(r.ended) < lockPatience {
		time.AfterFunc(writeRetry, func() { d.add(r) })
		return
	}
	r.written <- err
}

// locked tells whether a row was locked for longer than lockWait.
func locked(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "55P03"
}

// passing tells whether the same write may succeed in a moment: the database was
// lost, or two processes were in each other's way.
func passing(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(pgErr.Code, "40") || lostConnection(err)
}

func (d *deliveryWriter) writeOnce(batch []*deliveryRecord) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	outcomes := make([]db.DeliveryOutcome, len(batch))
	now := time.Now()
	for i, r := range batch {
		outcomes[i] = r.outcome
		if r.outcome.Sent {
			outcomes[i].StartedAgo, outcomes[i].FinishedAgo = now.Sub(r.begun).Seconds(), now.Sub(r.ended).Seconds()
		}
	}
	health, leaving := healthOf(batch)
	var disabled []unwanted
	err := pgx.BeginFunc(ctx, d.Pool, func(tx pgx.Tx) (err error) {
		if err := db.LimitLockWait(ctx, tx, lockWait); err != nil {
			return err
		}
		if err := db.RecordDeliveries(ctx, tx, outcomes); err != nil {
			return err
		}
		if len(health) > 0 {
			if err := db.RecordHealth(ctx, tx, health); err != nil {
				return err
			}
		}
		disabled, err = disable(ctx, tx, leaving)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing what %d deliveries came to: %w", len(batch), err)
	}
	for _, u := range disabled {
		d.tellDisabled(u.endpoint, u.reason)
	}
	return nil
}

// unwanted is an endpoint that is to be disabled.
type unwanted struct {
	endpoint int64
	url      string
	reason   string
}

// healthOf reads the last word of each endpoint in a batch, and which of them
// said that they want no more webhooks.
func healthOf(batch []*deliveryRecord) (health []db.EndpointHealth, leaving []unwanted) {
	last := map[int64]*deliveryRecord{}
	for _, r := range batch {
		if r.result == nil || r.target.Endpoint == nil {
			continue
		}
		id := *r.target.Endpoint
		switch {
		case r.result.Gone():
			leaving = append(leaving, unwanted{id, r.target.URL, "the receiver answered 410 Gone"})
		case r.result.Disable:
			leaving = append(leaving, unwanted{id, r.target.URL, "the receiver asked for it (webhook-delivery: disable)"})
		}
		if receiverAnswer(r.target, *r.result) != answerNeutral {
			last[id] = r
		}
	}
	for _, id := range slices.Sorted(maps.Keys(last)) {
		health = append(health, db.EndpointHealth{Endpoint: id, URL: last[id].target.URL, Error: nonEmpty(last[id].result.Reason())})
	}
	return health, leaving
}

// disable disables endpoints and tells those who asked to hear of it. It
// returns those that were enabled until now.
func disable(ctx context.Context, tx pgx.Tx, leaving []unwanted) (disabled []unwanted, err error) {
	for _, u := range leaving {
		done, err := db.DisableEndpoint(ctx, tx, u.endpoint, u.url, u.reason)
		if err != nil {
			return nil, err
		}
		if !done {
			continue
		}
		disabled = append(disabled, u)
		if err := addEndpointEvent(ctx, tx, u.endpoint, webhook.EndpointDisabled, u.reason); err != nil {
			return nil, err
		}
	}
	return disabled, nil
}

// addEndpointEvent writes an event about a receiver for the others.
func addEndpointEvent(ctx context.Context, tx pgx.Tx, id int64, eventType, reason string) error {
	endpoint, err := db.GetEndpoint(ctx, tx, id)
	if err != nil {
		return err
	}
	// others get this: neither path nor query, which may hold a secret
	data := webhook.Endpoint{ID: id, URL: hostOf(endpoint.URL), FailingSince: endpoint.FailingSince, DisabledAt: endpoint.DisabledAt, Reason: reason}
	payload, err := json.Marshal(webhook.EndpointEvent{Type: eventType, Timestamp: time.Now().UTC(), Data: data})
	if err != nil {
		return fmt.Errorf("encoding the event: %w", err)
	}
	return db.AddEndpointEvent(ctx, tx, id, webhook.NewEventID(), eventType, payload)
}

func (w *Worker) tellDisabled(id int64, reason string) {
	w.Metrics.EndpointsDisabled.Inc()
	w.Log.Warn("a webhook endpoint was disabled, its webhooks wait until it is enabled", "endpoint", id, "reason", reason,
		"enable", fmt.Sprintf("klingwatch endpoints enable %d", id))
}
