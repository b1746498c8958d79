// Package tracing connects klingwatch with OpenTelemetry: where spans are sent,
// and how a trace passes through the database as text.
//
//	tracer, stop, err := tracing.Start(ctx, version, log) // nil without a collector
//	defer stop()
//	parent := tracing.Traceparent(span.SpanContext()) // kept in a row
//	ctx = tracing.Continue(ctx, parent)               // taken up by another process
package tracing
