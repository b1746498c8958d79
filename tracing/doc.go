// Package tracing connects klingwatch to OpenTelemetry: it sends spans to a
// collector, and passes a trace through the database as text.
//
//	tracer, stop, err := tracing.Start(ctx, version, log) // nil without a collector
//	defer stop()
//	parent := tracing.Traceparent(span.SpanContext()) // kept in a row
//	ctx = tracing.Continue(ctx, parent)               // taken up by another process
package tracing
