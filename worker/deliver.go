package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// deliverArgs is the job of one delivery; the trigger on deliveries inserts it.
type deliverArgs struct {
	ID int64 `json:"id"` // deliveries.id
}

func (deliverArgs) Kind() string { return "deliver" }

const (
	// sealedWait is how long a delivery waits that cannot be signed: an operator
	// must give the key first.
	sealedWait = time.Minute
	// tellHeld is the shortest wait of a held delivery that is written down.
	tellHeld = 5 * time.Second
)

// deliverWorker sends one webhook.
type deliverWorker struct {
	river.WorkerDefaults[deliverArgs]
	*Worker
	loader    *loader[db.DeliveryTarget]
	receivers *receivers
	writer    *deliveryWriter
}

func newDeliverWorker(w *Worker) *deliverWorker {
	return &deliverWorker{
		Worker:    w,
		loader:    &loader[db.DeliveryTarget]{read: w.deliveryTargets},
		receivers: newReceivers(),
		writer:    newDeliveryWriter(w),
	}
}

// deliveryTargets reads deliveries by their ids.
func (w *Worker) deliveryTargets(ctx context.Context, ids []int64) (map[int64]db.DeliveryTarget, error) {
	targets, err := db.DeliveryTargets(ctx, w.Pool, ids)
	if err != nil {
		return nil, fmt.Errorf("reading %d deliveries: %w", len(ids), err)
	}
	found := make(map[int64]db.DeliveryTarget, len(targets))
	for _, t := range targets {
		found[t.ID] = t
	}
	return found, nil
}

// Timeout bounds a job's stay: the wait for its turn, one request and its record.
func (d *deliverWorker) Timeout(*river.Job[deliverArgs]) time.Duration { return deliverJobTimeout }

// Work makes one attempt when it is due and its receiver has a free slot, and
// snoozes until the next.
func (d *deliverWorker) Work(ctx context.Context, job *river.Job[deliverArgs]) error {
	for {
		t, found, err := d.loader.load(ctx, job.Args.ID)
		if err != nil {
			return err
		}
		switch {
		case !found || t.State != db.DeliveryPending || t.Wait == nil:
			return nil
		case t.Disabled:
			return d.record(parked(t), nil, t, nil)
		case *t.Wait > 0:
			return river.JobSnooze(*t.Wait)
		}
		pass, err := d.receivers.enter(ctx, placeOf(t))
		if held, ok := errors.AsType[heldError](err); ok {
			return d.hold(t, held)
		}
		if err != nil {
			return err
		}
		if !pass.waited {
			return d.send(ctx, t, pass)
		}
		// Keys may have been rotated, the delivery canceled, its endpoint disabled meanwhile.
		if t, found, err = d.loader.load(ctx, job.Args.ID); err != nil || !found || !sendable(t) {
			d.receivers.cancel(pass)
			if err != nil {
				return err
			}
			continue
		}
		return d.send(ctx, t, pass)
	}
}

// sendable tells whether a delivery is to be sent now.
func sendable(t db.DeliveryTarget) bool {
	return t.State == db.DeliveryPending && !t.Disabled && t.Wait != nil && *t.Wait <= 0
}

// hold sends a job away until its receiver may be asked.
func (d *deliverWorker) hold(t db.DeliveryTarget, held heldError) error {
	outcome := afterHold(t, held, rand.Float64())
	if held.wait < tellHeld && !outcome.Skipped {
		return river.JobSnooze(held.wait)
	}
	return d.record(outcome, nil, t, nil)
}

// send makes the request of a delivery.
func (d *deliverWorker) send(ctx context.Context, t db.DeliveryTarget, p *pass) error {
	message, err := d.message(t)
	if err != nil {
		d.receivers.cancel(p)
		d.Metrics.Attempts.WithLabelValues(webhook.ErrorSigning).Inc()
		d.Log.Error("a webhook cannot be signed, trying again", "delivery", t.ID, "error", err.Error(), "in", sealedWait.String())
		return d.hold(t, heldError{wait: sealedWait, reason: webhook.ErrorSigning + ": " + err.Error()})
	}
	if t.Tries == 0 {
		d.Metrics.DeliveryLag.Observe(t.EventAge.Seconds())
	}
	begun := time.Now()
	traced := d.traceAttempt(t, &message)
	result := d.Webhooks.Send(ctx, message)
	traced(result)
	took := time.Since(begun)
	if !result.Delivered() && ctx.Err() != nil {
		// A stop cut it off: whether the receiver got it nobody knows. It is sent again.
		d.receivers.leave(p, answerNeutral, took, 0)
		return ctx.Err()
	}
	if d.receivers.leave(p, receiverAnswer(t, result), took, result.RetryAfter) {
		d.tellBreaker(t, result)
	}
	outcome := afterAttempt(t, result, rand.Float64())
	if result.Error == webhook.ErrorSigning {
		outcome = afterHold(t, heldError{wait: sealedWait, reason: result.Reason()}, 0)
	}
	return d.record(outcome, &result, t, &begun)
}

// message is what a delivery's receiver gets, signed with the keys of now.
func (d *deliverWorker) message(t db.DeliveryTarget) (webhook.Message, error) {
	m := webhook.Message{URL: t.URL, ID: t.EventID, Body: []byte(t.Body), Secrets: make([]string, len(t.Secrets))}
	for i, stored := range t.Secrets {
		secret, err := d.Keyring.Open(stored)
		if err != nil {
			return m, err
		}
		m.Secrets[i] = secret
	}
	if !t.Thin {
		return m, nil
	}
	var err error
	if m.Body, err = webhook.Thin(m.Body); err != nil {
		return m, fmt.Errorf("making the thin payload: %w", err)
	}
	return m, nil
}

// record has an outcome written and tells the job what to do then. result and
// begun are nil where nothing was sent.
func (d *deliverWorker) record(o db.DeliveryOutcome, result *webhook.Result, t db.DeliveryTarget, begun *time.Time) error {
	r := &deliveryRecord{target: t, outcome: o, result: result, ended: time.Now(), written: make(chan error, 1)}
	if begun != nil {
		r.begun = *begun
	}
	d.writer.add(r)
	if err := <-r.written; err != nil {
		return err
	}
	d.tellAttempt(r)
	if o.State == db.DeliveryPending && o.Wait != nil {
		return river.JobSnooze(time.Duration(*o.Wait * float64(time.Second)))
	}
	return nil
}

// tellBreaker tells that a receiver's breaker opened or closed.
func (d *deliverWorker) tellBreaker(t db.DeliveryTarget, result webhook.Result) {
	if result.Delivered() {
		d.Log.Info("a webhook receiver works again", "receiver", placeOf(t))
		return
	}
	d.Log.Warn("a webhook receiver keeps failing, its webhooks are held back", "receiver", placeOf(t), "error", result.Reason())
}

// tellAttempt tells metrics and log of what was written.
func (d *deliverWorker) tellAttempt(r *deliveryRecord) {
	o, t := r.outcome, r.target
	if o.State == db.DeliveryExhausted {
		d.Metrics.Exhausted.Inc()
	}
	if r.result == nil {
		if o.State != db.DeliveryPending {
			d.Log.Info("webhook ended", "delivery", t.ID, "event_id", t.EventID, "url", hostOf(t.URL), "state", o.State, "error", *o.Error)
		}
		return
	}
	took := r.ended.Sub(r.begun)
	d.Metrics.AttemptSeconds.Observe(took.Seconds())
	label := r.result.Error
	if r.result.Delivered() {
		label = "delivered"
	}
	d.Metrics.Attempts.WithLabelValues(label).Inc()
	attrs := []any{
		"delivery", t.ID, "event_id", t.EventID, "type", t.Type, "url", hostOf(t.URL),
		"attempt", t.Attempts + 1, "status_code", r.result.StatusCode, "state", o.State, "took", took.Round(time.Millisecond).String(),
	}
	if t.Task != nil {
		attrs = append(attrs, "task", *t.Task)
	}
	if r.result.Error != "" {
		attrs = append(attrs, "error", r.result.Reason())
	}
	if o.Wait != nil {
		attrs = append(attrs, "next_attempt_in", (time.Duration(*o.Wait) * time.Second).String())
	}
	d.Log.Info("webhook attempt", attrs...)
}
