package deliver

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/webhook"
)

func TestWithoutATracerTheTraceOfTheEventIsHandedOn(t *testing.T) {
	t.Parallel()
	var m webhook.Message
	new(Sender).traceAttempt(db.DeliveryTarget{Traceparent: "00-1-2-01"}, &m)(webhook.Result{})
	if m.Traceparent != "00-1-2-01" {
		t.Errorf("traceparent %q", m.Traceparent)
	}
}

// Who knows the path of a callback may post to it; redirects often name it again.
func TestTheLogNamesTheHostOfACallbackOnly(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &Sender{Config: Config{Metrics: &metrics.New().Webhooks, Log: slog.New(slog.NewTextHandler(&out, nil))}}
	target := db.DeliveryTarget{URL: "http://automation.example/hook/hidden?token=hidden"}
	for _, result := range []webhook.Result{
		{Connected: true, StatusCode: 301, Error: webhook.ErrorRedirectRefused, Detail: `HTTP 301 to "https://automation.example/hook/hidden"; redirects are not followed`},
		{Connected: true, StatusCode: 500, Error: webhook.ErrorHTTPStatus, Detail: "HTTP 500"},
		{Error: webhook.ErrorDNS},
		{Connected: true, StatusCode: 204},
	} {
		s.logAttempt(&record{target: target, result: &result, outcome: afterAttempt(target, result, 0)})
		s.logBreaker(target, result)
		s.logReached(target)
	}
	if strings.Contains(out.String(), "hidden") || strings.Count(out.String(), "http://automation.example") < 12 {
		t.Errorf("the log is\n%s", &out)
	}
}
