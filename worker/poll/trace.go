package poll

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/tracing"
)

// Each poll that is written, because it changed something or failed in a new
// way, begins a trace; the thousands that change nothing do not:
//
//	poll -> write -> deliver (one per attempt) -> the receiver, by its header traceparent
//
// The event carries the trace to the process that delivers it, in
// events.traceparent. Without a Tracer none of this happens.

// spans are a result's place in its trace.
type spans struct {
	poll  trace.SpanContext // invalid where the relay was not asked
	write trace.Span
}

// tracePoll makes the span of a poll that is about to be written, after the fact.
func (c *common) tracePoll(r *pollResult, begun, answered time.Time, err error) {
	if c.Tracer == nil {
		return
	}
	_, span := c.Tracer.Start(context.Background(), "poll", trace.WithTimestamp(begun), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithNewRoot(), trace.WithAttributes(append(attributesOf(r),
			attribute.String("http.request.method", "GET"),
			attribute.String("klingwatch.outcome", string(r.verdict.outcome)),
			attribute.Int("klingwatch.polls", r.verdict.memory.Polls))...))
	if status := httpStatus(r.reply, err); status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if err != nil {
		span.SetStatus(codes.Error, outbound.LogLine(err.Error()))
	}
	span.End(trace.WithTimestamp(answered))
	r.spans = &spans{poll: span.SpanContext()}
}

// attributesOf names the task of a result, and its status now.
func attributesOf(r *pollResult) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.Int64("klingwatch.task", r.task.ID),
		attribute.String("klingwatch.task_id", r.task.TaskID),
		attribute.String("klingwatch.relay", r.task.Relay),
		attribute.String("klingwatch.action", r.task.Action),
		attribute.String("klingwatch.action2", r.task.Action2),
		attribute.String("klingwatch.status", r.verdict.status),
	}
}

// httpStatus is the relay's, 0 where no answer came.
func httpStatus(reply *klingapi.Reply, err error) int {
	if reply != nil {
		return reply.HTTPStatus
	}
	if apiErr, ok := errors.AsType[*klingapi.Error](err); ok {
		return apiErr.HTTPStatus
	}
	return 0
}

// traceWrites begins a span for each result of a batch; done ends them.
func (w *writer) traceWrites(results []*pollResult) (done func(applied map[int64]bool, err error)) {
	if w.Tracer == nil {
		return func(map[int64]bool, error) {}
	}
	for _, r := range results {
		if r.spans == nil {
			r.spans = &spans{}
		}
		ctx := trace.ContextWithSpanContext(context.Background(), r.spans.poll)
		_, r.spans.write = w.Tracer.Start(ctx, "write", trace.WithAttributes(append(attributesOf(r), attribute.Int("klingwatch.batch", len(results)))...))
	}
	return func(applied map[int64]bool, err error) {
		for _, r := range results {
			r.spans.write.SetAttributes(attribute.Bool("klingwatch.applied", err == nil && applied[r.task.ID]))
			if err != nil {
				r.spans.write.SetStatus(codes.Error, outbound.LogLine(err.Error()))
			}
			r.spans.write.End()
		}
	}
}

// traceparent is what the event of a result carries on; "" without tracing.
func (r *pollResult) traceparent() string {
	if r.spans == nil {
		return ""
	}
	return tracing.Traceparent(r.spans.write.SpanContext())
}
