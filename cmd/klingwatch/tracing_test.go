package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// traceCollector takes traces by OTLP over HTTP.
type traceCollector struct {
	*httptest.Server
	mu       sync.Mutex
	requests int
	service  string
	spans    []*spans.Span
}

func newTraceCollector(t *testing.T) *traceCollector {
	t.Helper()
	c := &traceCollector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests++
		if r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &sent) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, from := range sent.ResourceSpans {
			for _, a := range from.Resource.Attributes {
				if a.Key == "service.name" {
					c.service = a.Value.GetStringValue()
				}
			}
			for _, scope := range from.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf") // an empty answer is a good one
	}))
	t.Cleanup(c.Close)
	return c
}

// about returns the spans of a task's end, by name.
func (c *traceCollector) about(task string) map[string]*spans.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string]*spans.Span{}
	for _, span := range c.spans {
		attributes := map[string]string{}
		for _, a := range span.Attributes {
			attributes[a.Key] = a.Value.GetStringValue()
		}
		if attributes["klingwatch.task_id"] == task && attributes["klingwatch.status"] == "succeeded" || attributes["klingwatch.type"] == "task.succeeded" {
			found[span.Name] = span
		}
	}
	return found
}

// The line of one task, as its collector and its receiver see it.
func TestATaskIsOneTraceFromPollToDelivery(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	collected := newTraceCollector(t)
	traceparents := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		traceparents <- r.Header.Get("traceparent")
	}))
	t.Cleanup(receiver.Close)
	env := append(serveEnv(url, simulate(t, klingsim.Config{Seed: 1, Lifetime: 300 * time.Millisecond})),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+collected.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
	p := launch(t, env, "serve")
	insert(t, pool, 1, "ok-", receiver.URL)
	got := <-traceparents
	await(t, "the delivery is exported", func() bool { return collected.about("ok-1")["deliver"] != nil })
	_ = p.Process.Signal(syscall.SIGTERM)
	<-p.done

	trace := collected.about("ok-1")
	poll, write, deliver := trace["poll"], trace["write"], trace["deliver"]
	if poll == nil || write == nil {
		t.Fatalf("of poll, write and deliver there are %v", trace)
	}
	if len(poll.ParentSpanId) != 0 || string(write.ParentSpanId) != string(poll.SpanId) || string(deliver.ParentSpanId) != string(write.SpanId) {
		t.Error("poll, write and deliver are not parent and child")
	}
	if string(write.TraceId) != string(poll.TraceId) || string(deliver.TraceId) != string(poll.TraceId) {
		t.Error("poll, write and deliver are not of one trace")
	}
	if want := fmt.Sprintf("00-%s-%s-01", hex.EncodeToString(deliver.TraceId), hex.EncodeToString(deliver.SpanId)); got != want {
		t.Errorf("the receiver got traceparent %q, want %q", got, want)
	}
	if collected.service != "klingwatch" {
		t.Errorf("service.name is %q", collected.service)
	}
	collected.mu.Lock()
	defer collected.mu.Unlock()
	for _, span := range collected.spans {
		if text := span.String(); strings.Contains(text, "sk-secret-key") || strings.Contains(text, "whsec_") {
			t.Errorf("a secret in %s", text)
		}
	}
}

// A service that is not to trace sends nothing, to nobody.
func TestTracingCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	for name, off := range map[string][]string{
		"no collector": {"OTEL_EXPORTER_OTLP_ENDPOINT=", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="},
		"disabled":     {"OTEL_SDK_DISABLED=true"},
		"no exporter":  {"OTEL_TRACES_EXPORTER=none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := dbtest.NewURL(t)
			pool := open(t, url)
			collected := newTraceCollector(t)
			headers := make(chan http.Header, 1)
			receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header }))
			t.Cleanup(receiver.Close)
			env := serveEnv(url, simulate(t, klingsim.Config{Seed: 1, Lifetime: 100 * time.Millisecond}))
			env = append(env, "OTEL_EXPORTER_OTLP_ENDPOINT="+collected.URL)
			p := launch(t, append(env, off...), "serve")
			insert(t, pool, 1, "ok-", receiver.URL)
			if header := <-headers; header.Get("traceparent") != "" {
				t.Errorf("the receiver got traceparent %q", header.Get("traceparent"))
			}
			_ = p.Process.Signal(syscall.SIGTERM)
			<-p.done
			if n := count(t, pool, `select count(*) from klingwatch.events where traceparent is not null`); n != 0 || collected.requests != 0 {
				t.Errorf("%d events have a trace, the collector was asked %d times", n, collected.requests)
			}
		})
	}
}
