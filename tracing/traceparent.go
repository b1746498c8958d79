package tracing

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Traceparent writes a span's place as the header of W3C Trace Context; "" for
// none.
func Traceparent(place trace.SpanContext) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), place), carrier)
	return carrier["traceparent"]
}

// Continue returns a context in which new spans belong to the trace of a
// traceparent; unchanged for "" or a malformed one.
func Continue(ctx context.Context, traceparent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent})
}
