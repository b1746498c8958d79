package deliver

import (
	"testing"

	"github.com/klingwatch/klingwatch/db"
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
