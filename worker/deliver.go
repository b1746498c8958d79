package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// deliverArgs is the job of one delivery; the trigger on deliveries inserts it.
type deliverArgs struct {
	ID int64 `json:"id"` // deliveries.id
}

func (deliverArgs) Kind() string { return "deliver" }

// leaseMargin is how much longer than a request an attempt may take until it
// counts as interrupted.
const leaseMargin = 5 * time.Second

// deliverWorker sends one webhook.
type deliverWorker struct {
	river.WorkerDefaults[deliverArgs]
	*Worker
}

// Timeout bounds one attempt: the request and two writes.
func (d *deliverWorker) Timeout(*river.Job[deliverArgs]) time.Duration { return d.deliverJobTimeout() }

// Work makes one attempt and snoozes until the next is due. The attempt is
// written before the request, so that a killed process leaves a trace.
func (d *deliverWorker) Work(ctx context.Context, job *river.Job[deliverArgs]) error {
	attempt, err := db.BeginAttempt(ctx, d.Pool, job.Args.ID, d.WebhookTimeout+leaseMargin)
	if errors.Is(err, db.ErrNotFound) {
		return d.wait(ctx, job.Args.ID)
	}
	if err != nil {
		return fmt.Errorf("beginning an attempt of delivery %d: %w", job.Args.ID, err)
	}
	begun := time.Now()
	result := d.Webhooks.Send(ctx, webhook.Message{
		URL: attempt.URL, ID: attempt.EventID, Body: []byte(attempt.Body), Secrets: attempt.Secrets,
	})
	took := time.Since(begun)
	if !result.Delivered() && ctx.Err() != nil {
		// A stop cut it off: whether the receiver got it nobody knows. The lease makes it due again.
		return ctx.Err()
	}
	next, err := d.record(ctx, attempt, result)
	if err != nil {
		return err
	}
	d.tellAttempt(attempt, result, took, next)
	if next.Wait == nil {
		return nil
	}
	return river.JobSnooze(*next.Wait)
}

// wait decides what to do with a delivery that is not to be sent now.
func (d *deliverWorker) wait(ctx context.Context, delivery int64) error {
	due, err := db.DueIn(ctx, d.Pool, delivery)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("reading delivery %d: %w", delivery, err)
	case due.State != db.DeliveryPending || due.Wait == nil:
		return nil
	case due.Disabled:
		if err := db.ParkDelivery(ctx, d.Pool, delivery); err != nil {
			return fmt.Errorf("parking delivery %d: %w", delivery, err)
		}
		return nil
	}
	return river.JobSnooze(max(*due.Wait, 0))
}

// record writes what an attempt came to. A receiver that is gone (410) is
// disabled; its deliveries wait for a person.
func (d *deliverWorker) record(ctx context.Context, attempt db.Attempt, result webhook.Result) (db.FinishedAttempt, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	finished := afterAttempt(attempt, result, rand.Float64())
	err := pgx.BeginFunc(ctx, d.Pool, func(tx pgx.Tx) error {
		if result.Gone() && attempt.Endpoint != nil {
			if err := db.DisableEndpoint(ctx, tx, *attempt.Endpoint, "the receiver answered 410 Gone"); err != nil {
				return err
			}
		}
		return db.FinishAttempt(ctx, tx, finished)
	})
	if err != nil {
		return finished, fmt.Errorf("writing attempt %d of delivery %d: %w", attempt.Attempt, attempt.Delivery, err)
	}
	return finished, nil
}

// afterAttempt decides a delivery's state after an attempt; random is a number
// from 0 up to 1.
func afterAttempt(attempt db.Attempt, result webhook.Result, random float64) db.FinishedAttempt {
	f := db.FinishedAttempt{
		Delivery:     attempt.Delivery,
		Attempt:      attempt.Attempt,
		Error:        nonEmpty(result.Reason()),
		ResponseBody: nonEmpty(result.Body),
		State:        db.DeliveryPending,
	}
	if result.StatusCode != 0 {
		f.StatusCode = &result.StatusCode
	}
	if result.Delivered() {
		f.State = db.DeliveryDelivered
		return f
	}
	if result.Gone() {
		if attempt.Endpoint == nil {
			f.State = db.DeliveryExhausted
		}
		return f
	}
	if result.Error == webhook.ErrorInvalidURL {
		f.State = db.DeliveryExhausted // it can never work
		return f
	}
	wait, again := webhook.NextAttempt(attempt.Attempt, result.RetryAfter, random)
	if !again {
		f.State = db.DeliveryExhausted
		return f
	}
	f.Wait = &wait
	return f
}

func (d *deliverWorker) tellAttempt(attempt db.Attempt, result webhook.Result, took time.Duration, next db.FinishedAttempt) {
	d.Metrics.AttemptSeconds.Observe(took.Seconds())
	label := result.Error
	if result.Delivered() {
		label = "delivered"
	}
	d.Metrics.Attempts.WithLabelValues(label).Inc()
	if next.State == db.DeliveryExhausted {
		d.Metrics.Exhausted.Inc()
	}
	attrs := []any{
		"delivery", attempt.Delivery, "task", attempt.Task, "event_id", attempt.EventID, "type", attempt.Type, "url", redact(attempt.URL),
		"attempt", attempt.Attempt, "status_code", result.StatusCode, "state", next.State, "took", took.Round(time.Millisecond).String(),
	}
	if result.Error != "" {
		attrs = append(attrs, "error", result.Reason())
	}
	if next.Wait != nil {
		attrs = append(attrs, "next_attempt_in", next.Wait.Round(time.Second).String())
	}
	d.Log.Info("webhook attempt", attrs...)
}
