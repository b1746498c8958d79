package deliver

import (
	"fmt"
	"hash/maphash"
	"net/url"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// afterAttempt decides a delivery's state after a request; random is a number
// from 0 up to 1. Of an endpoint that wants no more webhooks the delivery waits
// until a person enables it; a callback has nobody to enable it.
func afterAttempt(t db.DeliveryTarget, result webhook.Result, random float64) db.DeliveryOutcome {
	o := db.DeliveryOutcome{Delivery: t.ID, Created: t.Created, Seen: t.Attempts, Since: t.Since, State: db.DeliveryPending, Error: nonEmpty(result.Reason())}
	if result.Sent() {
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

// answerOf returns what a request showed of its receiver: until a connection is made
// it is about the host.
func answerOf(result webhook.Result) answer {
	switch {
	case result.Delivered():
		return answerGood
	case !result.BlamesReceiver():
		return answerNeutral
	case !result.Connected:
		return answerUnreached
	}
	return answerBad
}

var placeSeed = maphash.MakeSeed()

// placeOf names the receiver of a delivery: an endpoint, or the URL of a callback,
// query included: what tells customers apart may stand there.
func placeOf(t db.DeliveryTarget) place {
	if t.Endpoint != nil {
		// one that was edited or enabled begins anew
		return place{host: fmt.Sprintf("endpoint %d.%d", *t.Endpoint, t.Revision)}
	}
	p := place{host: webhook.HostOf(t.URL)}
	if u, err := url.Parse(t.URL); err == nil {
		p.key = maphash.String(placeSeed, u.RequestURI())
	}
	return p
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
