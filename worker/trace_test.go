package worker

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/tracing"
)

// recorder keeps all spans.
func recorder(t *testing.T) (*tracetest.SpanRecorder, trace.Tracer) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	return spans, provider.Tracer("test")
}

// named returns the ended spans with a name.
func named(spans *tracetest.SpanRecorder, name string) (list []sdktrace.ReadOnlySpan) {
	for _, s := range spans.Ended() {
		if s.Name() == name {
			list = append(list, s)
		}
	}
	return list
}

func attributesIn(s sdktrace.ReadOnlySpan) map[attribute.Key]string {
	values := map[attribute.Key]string{}
	for _, a := range s.Attributes() {
		values[a.Key] = a.Value.String()
	}
	return values
}

// The process that learns of the end is not the one whose webhook arrives: the
// trace goes on in the other one.
func TestATraceGoesOnInAnotherProcess(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relay := simulator(t)
	headers := make(chan string, 10)
	answers := make(chan int, 2)
	answers <- http.StatusInternalServerError
	answers <- http.StatusNoContent
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(<-answers)
		headers <- r.Header.Get("traceparent")
	}))
	t.Cleanup(receiver.Close)
	first, firstTracer := recorder(t)
	cfg := config(t, pool, relay)
	cfg.Tracer = firstTracer
	stop := startWorker(t, cfg)
	task := track(t, pool, "videos/text2video", receiver.URL+"/hook?token=hidden", "quick-1")[0]
	sent := []string{<-headers}
	await(t, "the failed attempt is written", func() bool {
		return number(t, pool, `select attempts from klingwatch.deliveries`) == 1
	})
	stop()
	polls, writes, attempts := named(first, "poll"), named(first, "write"), named(first, "deliver")
	if len(polls) != 1 || len(writes) != 1 || len(attempts) != 1 {
		t.Fatalf("%d polls, %d writes, %d attempts are traced", len(polls), len(writes), len(attempts))
	}
	if number(t, pool, `update klingwatch.deliveries set next_attempt_at = now() returning (select klingwatch.give_jobs('deliver', array[id]))`) != 0 {
		t.Fatal("the delivery had no job")
	}

	second, secondTracer := recorder(t)
	cfg.Tracer = secondTracer
	startWorker(t, cfg)
	sent = append(sent, <-headers)
	await(t, "the delivery is traced", func() bool { return len(named(second, "deliver")) == 1 })
	if n := len(named(second, "poll")) + len(named(second, "write")); n != 0 {
		t.Errorf("%d more polls and writes", n)
	}
	attempts = append(attempts, named(second, "deliver")...)

	poll := polls[0]
	if poll.Parent().IsValid() || writes[0].Parent().SpanID() != poll.SpanContext().SpanID() || poll.SpanKind() != trace.SpanKindClient {
		t.Error("the poll is not the root, or the write not its child")
	}
	for i, attempt := range attempts {
		if attempt.Parent().SpanID() != writes[0].SpanContext().SpanID() || attempt.SpanContext().TraceID() != poll.SpanContext().TraceID() {
			t.Errorf("attempt %d is not the write's child", i+1)
		}
		if want := tracing.Traceparent(attempt.SpanContext()); sent[i] != want || want == "" {
			t.Errorf("the receiver got traceparent %q, want %q", sent[i], want)
		}
	}
	if attempts[0].Status().Code != codes.Error || attempts[1].Status().Code != codes.Unset {
		t.Error("the first attempt failed, the second did not")
	}
	about, delivery := attributesIn(poll), attributesIn(attempts[0])
	for key, want := range map[attribute.Key]string{
		"klingwatch.task": attribute.Int64Value(task).String(), "klingwatch.task_id": "quick-1", "klingwatch.action": "videos", "klingwatch.action2": "text2video",
		"klingwatch.outcome": "finished", "klingwatch.status": "succeeded", "http.response.status_code": "200",
	} {
		if about[key] != want {
			t.Errorf("poll: %s is %q, want %q", key, about[key], want)
		}
	}
	if delivery["server.address"] != receiver.Listener.Addr().String() || delivery["http.response.status_code"] != "500" {
		t.Errorf("deliver: %v", delivery)
	}
}

// Only polls that are written are traced: the first answer, and a trouble once.
func TestPollsThatChangeNothingAreNotTraced(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, url := simulator(t)
	spans, tracer := recorder(t)
	cfg := config(t, pool, url)
	cfg.Tracer = tracer
	startWorker(t, cfg)
	track(t, pool, "videos/text2video", "", "never-1")
	await(t, "processing is written", func() bool { return len(named(spans, "write")) == 2 }) // submitted, processing
	await(t, "many polls changed nothing", func() bool { return relay.Queries("never-1") > 10 })
	relay.SetOutage(http.StatusBadGateway)
	await(t, "the trouble is traced", func() bool { return len(named(spans, "write")) == 3 })
	asked := relay.Requests()
	await(t, "it lasts", func() bool { return relay.Requests() > asked+1 })
	polls := named(spans, "poll")
	if len(polls) != 3 || polls[2].Status().Code != codes.Error || attributesIn(polls[2])["http.response.status_code"] != "502" {
		t.Errorf("%d polls are traced: %v", len(polls), polls)
	}
}
