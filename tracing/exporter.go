package tracing

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingwatch/klingwatch/outbound"
)

const (
	// flushTimeout bounds sending the last spans: a stop must not wait for a
	// collector that does not answer.
	flushTimeout = time.Second
	// failureInterval is how often a failure to send is logged at most.
	failureInterval = time.Minute
)

// Start sends traces by OTLP over HTTP if the standard OTEL_ variables name a
// collector; else the tracer is nil and nothing runs. stop, which is never nil
// without an error, sends the last spans, for at most a second. Start returns an
// error for variables that klingwatch does not support.
func Start(ctx context.Context, version string, log *slog.Logger) (tracer trace.Tracer, stop func(), err error) {
	ok, err := enabled(os.Getenv)
	if err != nil || !ok {
		return nil, func() {}, err
	}
	exporter, err := otlptracehttp.New(ctx) // reads OTEL_EXPORTER_OTLP_*; it does not connect yet
	if err != nil {
		return nil, nil, fmt.Errorf("preparing to send traces: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "klingwatch"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv()) // OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
	if err != nil {
		return nil, nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	failures := &exportFailures{log: log}
	otel.SetErrorHandler(failures)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	log.Info("sending traces by OTLP")
	return provider.Tracer("github.com/klingwatch/klingwatch"), func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			failures.Handle(err)
		}
	}, nil
}

// enabled reports whether the variables of the OpenTelemetry specification name a
// collector. What klingwatch does not support is an error rather than silence.
func enabled(getenv func(string) string) (bool, error) {
	get := func(name string) string { return strings.TrimSpace(getenv(name)) }
	if strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	endpoint := cmp.Or(get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), get("OTEL_EXPORTER_OTLP_ENDPOINT"))
	exporter := cmp.Or(get("OTEL_TRACES_EXPORTER"), "otlp")
	if endpoint == "" || exporter == "none" {
		return false, nil
	}
	if exporter != "otlp" {
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER must be otlp or none, not %q", exporter)
	}
	if protocol := cmp.Or(get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), get("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf"); protocol != "http/protobuf" {
		return false, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, not %q: use the HTTP endpoint of the collector, often port 4318", protocol)
	}
	if u, err := url.Parse(endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return false, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT must be like http://collector.example:4318")
	}
	return true, nil
}

// exportFailures logs that spans were lost, but not for every batch.
type exportFailures struct {
	log    *slog.Logger
	mu     sync.Mutex
	logged time.Time
}

// Handle is called by OpenTelemetry.
func (f *exportFailures) Handle(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.logged.IsZero() && time.Since(f.logged) < failureInterval {
		return
	}
	f.logged = time.Now()
	f.log.Warn("traces could not be sent", "error", outbound.Line(err.Error()))
}
