package deliver

import (
	"fmt"
	"net/http"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// afterAttempt decides a delivery's state after a request; random is a number
// from 0 up to 1. Of an endpoint that wants no more webhooks the delivery waits
// until a person enables it; a callback has nobody to enable it.
func afterAttempt(t db.DeliveryTarget, result webhook.Result, random float64) db.DeliveryOutcome {
	o := db.DeliveryOutcome{Delivery: t.ID, Created: t.Created, Seen: t.Attempts, Since: t.Since, State: db.DeliveryPending, Error: nonEmpty(result.Reason())}
	if result.Error != webhook.ErrorInvalidURL { // else nothing was sent
		describe(&o, result)
	}
	unwanted := result.Gone() || result.Disable
	switch {
	case result.Delivered():
		o.State, o.Error = db.DeliveryDelivered, nil
	case result.Abort:
		o.State = db.DeliveryCanceled
	case unwanted && t.Endpoint == nil, result.Error == webhook.ErrorInvalidURL:
		o.State = db.DeliveryExhausted
	case unwanted: // waits without a next attempt
	default:
		wait, again := webhook.NextAttempt(t.Tries+1, result.RetryAfter, random)
		if !again {
			o.State = db.DeliveryExhausted
			break
		}
		o.Wait = secondsOf(wait)
	}
	return o
}

// describe puts what is known of a request into an outcome.
func describe(o *db.DeliveryOutcome, result webhook.Result) {
	o.Sent = true
	o.ResponseBody, o.RemoteAddr = nonEmpty(result.Body), nonEmpty(result.RemoteAddr)
	if result.StatusCode != 0 {
		o.StatusCode = &result.StatusCode
		o.FirstByteSeconds = secondsOf(result.Timings.FirstByte)
	}
	for _, step := range []struct {
		took    time.Duration
		seconds **float64
	}{
		{result.Timings.DNS, &o.DNSSeconds}, {result.Timings.Connect, &o.ConnectSeconds}, {result.Timings.TLS, &o.TLSSeconds},
	} {
		if step.took > 0 {
			*step.seconds = secondsOf(step.took)
		}
	}
}

// holdStep of being held back uses a step of the schedule up like a failed
// attempt, so that a delivery ends whatever its receiver does.
const holdStep = time.Hour

// afterHold decides what becomes of a delivery that is not sent now.
func afterHold(t db.DeliveryTarget, held heldError, random float64) db.DeliveryOutcome {
	o := db.DeliveryOutcome{Delivery: t.ID, Created: t.Created, Seen: t.Attempts, Since: t.Since, State: db.DeliveryPending, Error: &held.reason, Wait: secondsOf(held.wait), Held: held.refused}
	if t.Held < holdStep || !held.refused {
		return o
	}
	o.Held, o.Skipped = false, true
	wait, again := webhook.NextAttempt(t.Tries+1, 0, random)
	if !again {
		o.State, o.Wait = db.DeliveryExhausted, nil
		return o
	}
	o.Wait = secondsOf(wait)
	return o
}

// parked is a delivery that waits until its endpoint is enabled.
func parked(t db.DeliveryTarget) db.DeliveryOutcome {
	reason := "waits: its endpoint is disabled"
	return db.DeliveryOutcome{Delivery: t.ID, Created: t.Created, Seen: t.Attempts, Since: t.Since, State: db.DeliveryPending, Error: &reason}
}

// receiverAnswer returns what a request showed of its receiver as a whole. The
// host of a callback may serve many apps: that it refuses one path (3xx, 4xx)
// says nothing about the others.
func receiverAnswer(t db.DeliveryTarget, result webhook.Result) answer {
	refusal := result.StatusCode >= 300 && result.StatusCode < 500 && result.StatusCode != http.StatusTooManyRequests
	switch {
	case result.Delivered():
		return answerGood
	case t.Endpoint == nil && refusal:
		return answerNeutral
	case result.BlamesReceiver():
		return answerBad
	}
	return answerNeutral
}

// placeOf names the receiver of a delivery: an endpoint, or the host of a
// callback.
func placeOf(t db.DeliveryTarget) string {
	if t.Endpoint != nil {
		// one that was edited or enabled begins anew
		return fmt.Sprintf("endpoint %d.%d", *t.Endpoint, t.Revision)
	}
	return webhook.HostOf(t.URL)
}

func secondsOf(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
