package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/worker/batch"
)

const (
	// sealedWait is how long a delivery waits that cannot be signed: an operator
	// must supply the key first.
	sealedWait = time.Minute
	// recordHold is the shortest wait of a held delivery that is written down.
	recordHold = 5 * time.Second
	// clockSlack is how much longer than planned a wait may seem: clocks differ a little.
	clockSlack = 2 * time.Second
)

// Config sets up a Sender. Pool, Webhooks, Metrics and Log are required.
type Config struct {
	Pool      *pgxpool.Pool
	Webhooks  *webhook.Client
	Keyring   *keyring.Keyring // opens the stored signing keys; nil: they are stored plainly
	Metrics   *metrics.Webhooks
	OrderWait func(time.Duration) // told how long a write waited for its turn to write events; nil: nobody is
	Log       *slog.Logger
	Tracer    trace.Tracer // nil: nothing is traced
}

// Sender delivers webhooks. It is safe for concurrent use.
type Sender struct {
	Config
	loader    *batch.Loader[int64, db.DeliveryTarget]
	receivers *receivers
	writer    *writer
	unsigned  unsignedLog
	clock     clockWatch

	mu      sync.Mutex
	working context.Context // while callers wait for their records
	suspend context.CancelFunc
}

// New returns a Sender that does not write yet.
func New(cfg Config) *Sender {
	s := &Sender{Config: cfg, receivers: newReceivers()}
	s.loader = batch.NewLoader(s.targets)
	s.writer = newWriter(cfg.Pool, cfg.OrderWait, s.logAttempt, s.logDisabled)
	s.working, s.suspend = context.WithCancel(context.Background())
	return s
}

// Suspend lets callers leave at once where they wait for a record to be written: the
// database was lost. What receivers answered is kept, and written when it is back.
func (s *Sender) Suspend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspend()
}

// Resume lets callers wait for their records again.
func (s *Sender) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspend()
	s.working, s.suspend = context.WithCancel(context.Background())
}

// suspended is closed when callers must leave.
func (s *Sender) suspended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.working.Done()
}

// ErrSuspended says that the database was lost before an outcome was written; it is kept.
var ErrSuspended = errors.New("what the receiver answered is written when the database is back")

// Start begins to write.
func (s *Sender) Start() { s.writer.Start() }

// Close writes what is left.
func (s *Sender) Close() { s.writer.Close() }

// Survey forgets receivers that were idle for long, and brings the gauges of
// this process up to date.
func (s *Sender) Survey() {
	broken, sending := s.receivers.survey()
	s.Metrics.BreakersOpen.Set(float64(broken))
	s.Metrics.WebhooksSending.Set(float64(sending))
}

// targets reads deliveries by their ids.
func (s *Sender) targets(ctx context.Context, ids []int64) (map[int64]db.DeliveryTarget, error) {
	targets, err := db.DeliveryTargets(ctx, s.Pool, ids)
	if err != nil {
		return nil, fmt.Errorf("reading %d deliveries: %w", len(ids), err)
	}
	found := make(map[int64]db.DeliveryTarget, len(targets))
	for _, t := range targets {
		found[t.ID] = t
	}
	if len(targets) > 0 {
		s.clock.note(targets[len(targets)-1].Read, time.Now())
	}
	return found, nil
}

// Sleep is a wait of a delivery, and what it waits for: the zero Sleep is before its first
// attempt.
type Sleep struct {
	Length time.Duration `json:"length"`
	Tries  int           `json:"tries"` // the place in the schedule
	Since  time.Time     `json:"since"` // when the schedule began
}

// sleepOf is a wait of a delivery whose row does not change.
func sleepOf(t db.DeliveryTarget, length time.Duration) Sleep { return Sleep{length, t.Tries, t.Since} }

// Deliver makes one attempt when it is due and its receiver has a free slot. slept is the
// wait that it returned last for the delivery. It returns whether, and after which wait,
// to call it again; an error is one of the database, or ctx's.
func (s *Sender) Deliver(ctx context.Context, id int64, slept Sleep) (next Sleep, again bool, err error) {
	if r, now := s.writer.again(id); r != nil {
		return s.await(r, now) // it was sent, but the database did not take what came of it
	}
	for {
		t, found, err := s.loader.Load(ctx, id)
		if err != nil {
			return Sleep{}, false, err
		}
		switch {
		case !found || t.State != db.DeliveryPending || t.Wait == nil:
			return Sleep{}, false, nil
		case t.Disabled:
			return s.record(parked(t), nil, t, time.Time{})
		case !isDue(t, slept):
			return sleepOf(t, *t.Wait), true, nil
		}
		p, err := s.receivers.acquire(ctx, placeOf(t))
		if held, ok := errors.AsType[heldError](err); ok {
			return s.holdBack(t, held)
		}
		if err != nil {
			return Sleep{}, false, err
		}
		if !p.waited {
			return s.send(ctx, t, p)
		}
		// Keys may have been rotated, the delivery canceled, its endpoint disabled meanwhile.
		fresh, found, err := s.loader.Load(ctx, id)
		if err != nil || !found || !sendable(fresh, t) {
			s.receivers.cancel(p)
			if err != nil {
				return Sleep{}, false, err
			}
			continue
		}
		return s.send(ctx, fresh, p)
	}
}

// isDue reports whether a delivery is to be sent now. What has waited for as long as was
// planned is due, whatever the database's clock says: one that goes back by an hour puts
// nothing off by an hour.
func isDue(t db.DeliveryTarget, slept Sleep) bool {
	length := *t.Wait // was planned while the job slept, or by an older version
	switch {
	case t.Tries == slept.Tries && t.Since.Equal(slept.Since):
		length = slept.Length
	case t.Tries == 0:
		length = 0 // a schedule begins at once
	}
	return *t.Wait <= 0 || *t.Wait > length+clockSlack
}

// sendable reports whether a delivery is to be sent now that was due before: it still is,
// unless another attempt was planned, whatever the database's clock says.
func sendable(t, before db.DeliveryTarget) bool {
	planned := t.Attempts == before.Attempts && t.Tries == before.Tries && t.Since.Equal(before.Since)
	return t.State == db.DeliveryPending && !t.Disabled && t.Wait != nil && (planned || *t.Wait <= 0)
}

// holdBack puts a delivery off until its receiver may be asked.
func (s *Sender) holdBack(t db.DeliveryTarget, held heldError) (next Sleep, again bool, err error) {
	if s.clock.hasMoved(time.Now()) {
		t.Held = 0 // nobody knows how long
	}
	outcome := afterHold(t, held, rand.Float64())
	if held.wait < recordHold && !outcome.Skipped {
		return sleepOf(t, held.wait), true, nil
	}
	return s.record(outcome, nil, t, time.Time{})
}

// send makes the request of a delivery.
func (s *Sender) send(ctx context.Context, t db.DeliveryTarget, p *pass) (next Sleep, again bool, err error) {
	defer s.receivers.cancel(p) // where it was not released: nothing was sent, or sending panicked
	message, err := s.message(t)
	if err != nil {
		s.Metrics.Attempts.WithLabelValues(webhook.ErrorSigning).Inc()
		s.logUnsigned(t, err)
		return s.holdBack(t, heldError{wait: sealedWait, reason: webhook.ErrorSigning + ": " + err.Error()})
	}
	if t.Tries == 0 {
		s.Metrics.DeliveryLag.Observe(t.EventAge.Seconds())
	}
	begun := time.Now()
	traced := s.traceAttempt(t, &message)
	message.Connected = func() {
		if s.receivers.connected(p) {
			s.logReached(t)
		}
	}
	result := s.Webhooks.Send(ctx, message)
	traced(result)
	took := time.Since(begun)
	if !result.Delivered() && ctx.Err() != nil {
		// A stop cut it off: whether the receiver got it nobody knows. It is sent again.
		return Sleep{}, false, ctx.Err()
	}
	if result.Sent() && s.receivers.release(p, reply{answerOf(result), took, result.Timings.FirstByte, result.RetryAfter}) {
		s.logBreaker(t, result)
	}
	outcome := afterAttempt(t, result, rand.Float64())
	if result.Error == webhook.ErrorSigning {
		outcome = afterHold(t, heldError{wait: sealedWait, reason: result.Reason()}, 0)
	}
	return s.record(outcome, &result, t, begun)
}

// message is what a delivery's receiver gets, signed with the keys of now.
func (s *Sender) message(t db.DeliveryTarget) (webhook.Message, error) {
	m := webhook.Message{URL: t.URL, ID: t.EventID, Body: []byte(t.Body), Secrets: make([]string, len(t.Secrets))}
	for i, stored := range t.Secrets {
		secret, err := s.Keyring.Open(stored)
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

// record has an outcome written and returns when the next attempt is due.
// result is nil where nothing was sent.
func (s *Sender) record(o db.DeliveryOutcome, result *webhook.Result, t db.DeliveryTarget, begun time.Time) (next Sleep, again bool, err error) {
	r := &record{target: t, outcome: o, result: result, begun: begun, ended: time.Now()}
	return s.await(r, s.writer.add(r))
}

// await returns when the next attempt is due, once an outcome is written.
func (s *Sender) await(r *record, now *writing) (next Sleep, again bool, err error) {
	select {
	case <-now.done:
		if now.err != nil {
			return Sleep{}, false, now.err
		}
	case <-s.suspended():
		return Sleep{}, false, ErrSuspended
	}
	if o := r.outcome; o.State == db.DeliveryPending && o.Wait != nil {
		after := sleepOf(r.target, time.Duration(*o.Wait*float64(time.Second)))
		if o.Sent || o.Skipped {
			after.Tries++
		}
		return after, true, nil
	}
	return Sleep{}, false, nil
}
