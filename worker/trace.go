package worker

import (
	"context"
	"errors"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/webhook"
)

// Each poll that is written, because it changed something or failed in a new
// way, begins a trace; the thousands that change nothing do not:
//
//	poll -> write -> deliver (one per attempt) -> the receiver, by its header traceparent
//
// The event carries the trace to whoever delivers it, in events.traceparent.
// Without a Tracer none of this happens.

// spans are a settlement's place in its trace.
type spans struct {
	poll  trace.SpanContext // invalid where the relay was not asked
	write trace.Span
}

// tracePoll makes the span of a poll that is about to be written, after the fact.
func (w *Worker) tracePoll(s *settlement, begun, answered time.Time, answer error) {
	if w.Tracer == nil {
		return
	}
	_, span := w.Tracer.Start(context.Background(), "poll", trace.WithTimestamp(begun), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithNewRoot(), trace.WithAttributes(append(attributesOf(s),
			attribute.String("http.request.method", "GET"),
			attribute.String("klingwatch.outcome", string(s.verdict.outcome)),
			attribute.Int("klingwatch.polls", s.verdict.memory.Polls))...))
	if status := httpStatus(s.reply, answer); status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if answer != nil {
		span.SetStatus(codes.Error, redact(answer.Error()))
	}
	span.End(trace.WithTimestamp(answered))
	s.spans = &spans{poll: span.SpanContext()}
}

// attributesOf names the task of a settlement, and its status now.
func attributesOf(s *settlement) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.Int64("klingwatch.task", s.task.ID),
		attribute.String("klingwatch.task_id", s.task.TaskID),
		attribute.String("klingwatch.action", s.task.Action),
		attribute.String("klingwatch.action2", s.task.Action2),
		attribute.String("klingwatch.status", s.verdict.status),
	}
}

// httpStatus is the relay's, 0 where no answer came.
func httpStatus(reply *klingapi.Reply, answer error) int {
	if reply != nil {
		return reply.HTTPStatus
	}
	if apiErr, ok := errors.AsType[*klingapi.Error](answer); ok {
		return apiErr.HTTPStatus
	}
	return 0
}

// traceWrites begins a span for each settlement of a batch; done ends them.
func (w *Worker) traceWrites(batch []*settlement) (done func(applied map[int64]bool, err error)) {
	if w.Tracer == nil {
		return func(map[int64]bool, error) {}
	}
	for _, s := range batch {
		if s.spans == nil {
			s.spans = &spans{}
		}
		ctx := trace.ContextWithSpanContext(context.Background(), s.spans.poll)
		_, s.spans.write = w.Tracer.Start(ctx, "write", trace.WithAttributes(append(attributesOf(s), attribute.Int("klingwatch.batch", len(batch)))...))
	}
	return func(applied map[int64]bool, err error) {
		for _, s := range batch {
			s.spans.write.SetAttributes(attribute.Bool("klingwatch.applied", err == nil && (s.change == nil || applied[s.task.ID])))
			if err != nil {
				s.spans.write.SetStatus(codes.Error, redact(err.Error()))
			}
			s.spans.write.End()
		}
	}
}

// traceparent is what the event of a settlement carries on; nil without tracing.
func (s *settlement) traceparent() *string {
	if s.spans == nil {
		return nil
	}
	return nonEmpty(traceparentOf(s.spans.write.SpanContext()))
}

// traceparentOf writes a span's place as the W3C header; "" for none.
func traceparentOf(place trace.SpanContext) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), place), carrier)
	return carrier["traceparent"]
}

// traceAttempt begins the span of a request and lets the receiver join it;
// done ends it. Without a Tracer the receiver joins the trace of the event.
func (w *Worker) traceAttempt(t db.DeliveryTarget, m *webhook.Message) (done func(webhook.Result)) {
	m.Traceparent = t.Traceparent
	if w.Tracer == nil {
		return func(webhook.Result) {}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": t.Traceparent})
	_, span := w.Tracer.Start(ctx, "deliver", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(deliveryAttributes(t)...))
	m.Traceparent = traceparentOf(span.SpanContext())
	return func(result webhook.Result) {
		if result.StatusCode != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", result.StatusCode))
		}
		if !result.Delivered() {
			span.SetAttributes(attribute.String("error.type", result.Error))
			span.SetStatus(codes.Error, redact(result.Reason()))
		}
		span.End()
	}
}

// deliveryAttributes name a delivery; of the URL only the host, the rest may
// hold secrets.
func deliveryAttributes(t db.DeliveryTarget) []attribute.KeyValue {
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
