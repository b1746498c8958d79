package deliver

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/tracing"
	"github.com/klingwatch/klingwatch/webhook"
)

// unsignedEvery is how often it is logged that webhooks cannot be signed: one
// wrong key holds all of them up.
const unsignedEvery = 10 * time.Minute

// unsignedLog counts the attempts that could not be signed since it was logged.
type unsignedLog struct {
	mu       sync.Mutex
	logged   time.Time
	attempts int
}

// logUnsigned logs that a webhook cannot be signed, once for many.
func (s *Sender) logUnsigned(t db.DeliveryTarget, err error) {
	s.unsigned.mu.Lock()
	defer s.unsigned.mu.Unlock()
	s.unsigned.attempts++
	if now := time.Now(); now.Sub(s.unsigned.logged) >= unsignedEvery {
		s.Log.Error("webhooks cannot be signed; they wait and are tried again every minute",
			"attempts", s.unsigned.attempts, "delivery", t.ID, "error", err.Error())
		s.unsigned.logged, s.unsigned.attempts = now, 0
	}
}

// logBreaker logs that the breaker of a receiver or of its host opened or closed. A
// path may be a secret: which one it is, the delivery tells.
func (s *Sender) logBreaker(t db.DeliveryTarget, result webhook.Result) {
	receiver := placeOf(t).host
	switch answerOf(result) {
	case answerUnreached:
		s.Log.Warn("a webhook host cannot be reached, its webhooks are held back", "receiver", receiver, "delivery", t.ID, "error", result.LogReason())
	case answerBad:
		s.Log.Warn("a webhook receiver keeps failing, its webhooks are held back", "receiver", receiver, "delivery", t.ID, "error", result.LogReason())
	case answerGood, answerNeutral:
		s.Log.Info("a webhook receiver works again", "receiver", receiver, "delivery", t.ID)
	}
}

// logReached logs that the breaker of a host closed.
func (s *Sender) logReached(t db.DeliveryTarget) {
	s.Log.Info("a webhook host can be reached again", "receiver", placeOf(t).host, "delivery", t.ID)
}

// logDisabled logs that an endpoint was disabled.
func (s *Sender) logDisabled(d ledger.Disabling) {
	s.Metrics.EndpointsDisabled.Inc()
	s.Log.Warn("a webhook endpoint was disabled, its webhooks wait until it is enabled", "endpoint", d.Endpoint, "reason", d.Reason,
		"enable", fmt.Sprintf("klingwatch endpoints enable %d", d.Endpoint))
}

// logAttempt puts what was written into metrics and log.
func (s *Sender) logAttempt(r *record) {
	o, t := r.outcome, r.target
	if o.State == db.DeliveryExhausted {
		s.Metrics.Exhausted.Inc()
	}
	if r.result == nil {
		if o.State != db.DeliveryPending {
			s.Log.Info("webhook ended", "delivery", t.ID, "event_id", t.EventID, "url", webhook.HostOf(t.URL), "state", o.State, "error", *o.Error)
		}
		return
	}
	took := r.ended.Sub(r.begun)
	s.Metrics.AttemptSeconds.Observe(took.Seconds())
	label := r.result.Error
	if r.result.Delivered() {
		label = "delivered"
	}
	s.Metrics.Attempts.WithLabelValues(label).Inc()
	attrs := []any{
		"delivery", t.ID, "event_id", t.EventID, "type", t.Type, "url", webhook.HostOf(t.URL),
		"attempt", t.Attempts + 1, "status_code", r.result.StatusCode, "state", o.State, "took", took.Round(time.Millisecond).String(),
	}
	if t.Task != nil {
		attrs = append(attrs, "task", *t.Task)
	}
	if r.result.Error != "" {
		attrs = append(attrs, "error", r.result.LogReason())
	}
	if o.Wait != nil {
		attrs = append(attrs, "next_attempt_in", (time.Duration(*o.Wait) * time.Second).String())
	}
	s.Log.Info("webhook attempt", attrs...)
}

// traceAttempt begins the span of a request and lets the receiver join it;
// done ends it. Without a Tracer the receiver joins the trace of the event.
func (s *Sender) traceAttempt(t db.DeliveryTarget, m *webhook.Message) (done func(webhook.Result)) {
	m.Traceparent = t.Traceparent
	if s.Tracer == nil {
		return func(webhook.Result) {}
	}
	_, span := s.Tracer.Start(tracing.Continue(context.Background(), t.Traceparent), "deliver",
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributesOf(t)...))
	m.Traceparent = tracing.Traceparent(span.SpanContext())
	return func(result webhook.Result) {
		if result.StatusCode != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", result.StatusCode))
		}
		if !result.Delivered() {
			span.SetAttributes(attribute.String("error.type", result.Error))
			span.SetStatus(codes.Error, outbound.LogLine(result.LogReason()))
		}
		span.End()
	}
}

// attributesOf name a delivery; of the URL only the host, the rest may hold
// secrets.
func attributesOf(t db.DeliveryTarget) []attribute.KeyValue {
	list := []attribute.KeyValue{
		attribute.Int64("klingwatch.delivery", t.ID),
		attribute.String("klingwatch.event_id", t.EventID),
		attribute.String("klingwatch.type", t.Type),
		attribute.Int("klingwatch.attempt", t.Attempts+1),
		attribute.String("http.request.method", "POST"),
	}
	if t.Task != nil {
		list = append(list, attribute.Int64("klingwatch.task", *t.Task))
	}
	if t.Endpoint != nil {
		list = append(list, attribute.Int64("klingwatch.endpoint", *t.Endpoint))
	}
	if u, err := url.Parse(t.URL); err == nil {
		list = append(list, attribute.String("server.address", u.Host))
	}
	return list
}
