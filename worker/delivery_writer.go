package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
func (d *deliveryWriter) write(batch []*deliveryRecord) {
	deadline := time.Now().Add(writePatience)
	for {
		err := d.writeOnce(batch)
		if err == nil || !passing(err) || d.closing() || time.Now().After(deadline) {
			for _, r := range batch {
				r.written <- err
			}
			return
		}
		time.Sleep(writeRetry)
	}
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
	h := healthOf(batch)
	var disabled []int64
	err := pgx.BeginFunc(ctx, d.Pool, func(tx pgx.Tx) (err error) {
		if err := db.RecordDeliveries(ctx, tx, outcomes); err != nil {
			return err
		}
		if len(h.failing)+len(h.working) > 0 {
			if err := db.RecordHealth(ctx, tx, h.failing, h.working); err != nil {
				return err
			}
		}
		disabled, err = disable(ctx, tx, h.unwanted)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing what %d deliveries came to: %w", len(batch), err)
	}
	for _, id := range disabled {
		d.tellDisabled(id, h.unwanted[id])
	}
	return nil
}

// health is what a batch shows of endpoints.
type health struct {
	failing  map[int64]string // with the reason
	working  []int64
	unwanted map[int64]string // said that they want no more webhooks
}

// healthOf reads the last word of each endpoint in a batch.
func healthOf(batch []*deliveryRecord) health {
	h := health{failing: map[int64]string{}, unwanted: map[int64]string{}}
	last := map[int64]*webhook.Result{}
	for _, r := range batch {
		if r.result == nil || r.target.Endpoint == nil {
			continue
		}
		id := *r.target.Endpoint
		switch {
		case r.result.Gone():
			h.unwanted[id] = "the receiver answered 410 Gone"
		case r.result.Disable:
			h.unwanted[id] = "the receiver asked for it (webhook-delivery: disable)"
		}
		if receiverAnswer(*r.result) != answerNeutral {
			last[id] = r.result
		}
	}
	for id, result := range last {
		if result.Delivered() {
			h.working = append(h.working, id)
		} else {
			h.failing[id] = result.Reason()
		}
	}
	return h
}

// disable disables endpoints and tells those who asked to hear of it. It
// returns those that were enabled until now.
func disable(ctx context.Context, tx pgx.Tx, reasons map[int64]string) (disabled []int64, err error) {
	for id, reason := range reasons {
		done, err := db.DisableEndpoint(ctx, tx, id, reason)
		if err != nil {
			return nil, err
		}
		if !done {
			continue
		}
		disabled = append(disabled, id)
		if err := addEndpointEvent(ctx, tx, id, webhook.EndpointDisabled, reason); err != nil {
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
	// others get this: not the query, which may hold a secret
	place, _, _ := strings.Cut(endpoint.URL, "?")
	data := webhook.Endpoint{ID: id, URL: place, FailingSince: endpoint.FailingSince, DisabledAt: endpoint.DisabledAt, Reason: reason}
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
