package tracing

import (
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
)

// Without the variables there is no tracer, and no goroutine of OpenTelemetry.
func TestNothingOfTracingRunsByDefault(t *testing.T) {
	t.Parallel()
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "OTEL_") {
			t.Skipf("this shell sets %s", entry)
		}
	}
	tracer, stop, err := Start(t.Context(), "test", slog.New(slog.DiscardHandler))
	if tracer != nil || err != nil {
		t.Errorf("%v, %v", tracer, err)
	}
	stacks := make([]byte, 4<<20)
	if text := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(text, "opentelemetry") {
		t.Error(text)
	}
	stop()
}

func TestTheVariablesOfTracing(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c.example:4318"
	for _, test := range []struct {
		env    string // separated by spaces
		wanted bool
		err    string // part of it
	}{
		{"", false, ""},
		{endpoint, true, ""},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://c.example/traces", true, ""},
		{endpoint + " OTEL_SDK_DISABLED=TRUE", false, ""},
		{endpoint + " OTEL_SDK_DISABLED=false", true, ""},
		{endpoint + " OTEL_TRACES_EXPORTER=none", false, ""},
		{endpoint + " OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", true, ""},
		{endpoint + " OTEL_TRACES_EXPORTER=zipkin", false, `must be otlp or none, not "zipkin"`},
		{endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc", false, `must be http/protobuf, not "grpc"`},
		{endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf", true, ""},
		{"OTEL_TRACES_EXPORTER=otlp", false, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=c.example:4318", false, "must be like http://"},
	} {
		env := map[string]string{}
		for entry := range strings.FieldsSeq(test.env) {
			name, value, _ := strings.Cut(entry, "=")
			env[name] = value
		}
		got, err := enabled(func(name string) string { return env[name] })
		if got != test.wanted || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, %v", test.env, got, err)
		}
	}
}
