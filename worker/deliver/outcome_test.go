package deliver

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

func TestAnAttemptDecidesTheDelivery(t *testing.T) {
	t.Parallel()
	endpoint := int64(7)
	for _, c := range []struct {
		name   string
		target db.DeliveryTarget
		result webhook.Result
		state  string
		again  bool
	}{
		{"2xx", db.DeliveryTarget{}, webhook.Result{StatusCode: 204}, db.DeliveryDelivered, false},
		{"500", db.DeliveryTarget{}, failed(500), db.DeliveryPending, true},
		{"timeout on the ninth", db.DeliveryTarget{Tries: 8}, webhook.Result{Error: webhook.ErrorTimeout}, db.DeliveryPending, true},
		{"timeout on the tenth", db.DeliveryTarget{Tries: 9}, webhook.Result{Error: webhook.ErrorTimeout}, db.DeliveryExhausted, false},
		{"the schedule begins anew with a redelivery", db.DeliveryTarget{Attempts: 30, Tries: 0}, failed(500), db.DeliveryPending, true},
		{"410 from a callback", db.DeliveryTarget{}, failed(410), db.DeliveryExhausted, false},
		{"410 from an endpoint", db.DeliveryTarget{Endpoint: &endpoint}, failed(410), db.DeliveryPending, false},
		{"disable from an endpoint", db.DeliveryTarget{Endpoint: &endpoint}, webhook.Result{StatusCode: 500, Error: webhook.ErrorHTTPStatus, Disable: true}, db.DeliveryPending, false},
		{"disable with a 2xx", db.DeliveryTarget{Endpoint: &endpoint}, webhook.Result{StatusCode: 200, Disable: true}, db.DeliveryDelivered, false},
		{"abort-message", db.DeliveryTarget{Endpoint: &endpoint}, webhook.Result{StatusCode: 400, Error: webhook.ErrorHTTPStatus, Abort: true}, db.DeliveryCanceled, false},
		{"a URL that cannot work", db.DeliveryTarget{}, webhook.Result{Error: webhook.ErrorInvalidURL}, db.DeliveryExhausted, false},
	} {
		o := afterAttempt(c.target, c.result, 0.5)
		if o.State != c.state || (o.Wait != nil) != c.again || (o.Error == nil) != c.result.Delivered() {
			t.Errorf("%s: %s, again %v, error %v", c.name, o.State, o.Wait, o.Error)
		}
	}
}

func failed(status int) webhook.Result {
	return webhook.Result{StatusCode: status, Error: webhook.ErrorHTTPStatus}
}

func TestRetryAfterIsHonouredOnEveryAttempt(t *testing.T) {
	t.Parallel()
	for tries := range webhook.MaxAttempts - 1 {
		result := failed(429)
		result.RetryAfter = webhook.MaxRetryAfter
		if o := afterAttempt(db.DeliveryTarget{Tries: tries}, result, 0.5); o.Wait == nil || *o.Wait < webhook.MaxRetryAfter.Seconds() {
			t.Errorf("after attempt %d: %v", tries+1, o.Wait)
		}
	}
}

// A URL is one receiver of one host, however its callbacks spell the host.
func TestAHostIsOneInAllSpellings(t *testing.T) {
	t.Parallel()
	want := placeOf(db.DeliveryTarget{URL: "https://api.example/x?token=1"})
	if want.host != "https://api.example" {
		t.Errorf("the host is %q", want.host)
	}
	for _, url := range []string{"https://API.example/x?token=1", "https://api.example.:443/x?token=1"} {
		if got := placeOf(db.DeliveryTarget{URL: url}); got != want {
			t.Errorf("%q is the receiver %v, want %v", url, got, want)
		}
	}
	for _, url := range []string{"https://api.example/x?token=2", "https://api.example/x", "https://api.example/y?token=1"} {
		if got := placeOf(db.DeliveryTarget{URL: url}); got.host != want.host || got.key == want.key {
			t.Errorf("%q is the receiver %v beside %v", url, got, want)
		}
	}
	endpoint := int64(7)
	for _, target := range []db.DeliveryTarget{{URL: "http://api.example/x"}, {URL: "https://api.example:8443/x"}, {URL: "https://api.example/x", Endpoint: &endpoint}} {
		if placeOf(target).host == want.host {
			t.Errorf("%+v is on the same host", target)
		}
	}
}

// Until there is a connection a failure is the host's, from then on the URL's.
func TestWhoseTroubleItIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		result webhook.Result
		want   answer
	}{
		{webhook.Result{StatusCode: 204, Connected: true}, answerGood},
		{webhook.Result{StatusCode: 500, Error: webhook.ErrorHTTPStatus, Connected: true}, answerBad},
		{webhook.Result{StatusCode: 404, Error: webhook.ErrorHTTPStatus, Connected: true}, answerBad},
		{webhook.Result{StatusCode: 302, Error: webhook.ErrorRedirectRefused, Connected: true}, answerBad},
		{webhook.Result{Error: webhook.ErrorTimeout, Connected: true}, answerBad},
		{webhook.Result{Error: webhook.ErrorNetwork, Connected: true}, answerBad},
		{webhook.Result{StatusCode: 422, Error: webhook.ErrorHTTPStatus, Connected: true}, answerNeutral},
		{webhook.Result{Error: webhook.ErrorTimeout}, answerUnreached},
		{webhook.Result{Error: webhook.ErrorDNS}, answerUnreached},
		{webhook.Result{Error: webhook.ErrorTLS}, answerUnreached},
		{webhook.Result{Error: webhook.ErrorConnectionRefused}, answerUnreached},
	} {
		if got := answerOf(c.result); got != c.want {
			t.Errorf("%s, status %d, connected %v: %d, want %d", c.result.Error, c.result.StatusCode, c.result.Connected, got, c.want)
		}
	}
}

// A receiver that is held back for ever must not keep its deliveries for ever:
// an hour held back counts as an attempt.
func TestADeliveryThatIsHeldBackEndsAtLast(t *testing.T) {
	t.Parallel()
	held := heldError{wait: time.Minute, reason: "held_back: the receiver failed 9 times in a row", refused: true}
	if o := afterHold(db.DeliveryTarget{Held: holdStep - 1}, held, 0.5); o.State != db.DeliveryPending || *o.Wait != 60 || !o.Held || o.Skipped || o.Sent {
		t.Errorf("for less than an hour: %+v", o)
	}
	target, total := db.DeliveryTarget{Held: holdStep}, time.Duration(0)
	for {
		o := afterHold(target, held, 0.5)
		if !o.Skipped || o.Held || o.Sent || *o.Error != held.reason {
			t.Fatalf("%+v", o)
		}
		if o.State == db.DeliveryExhausted {
			break
		}
		target.Tries++
		total += holdStep + time.Duration(*o.Wait)*time.Second
	}
	if total > 5*24*time.Hour {
		t.Errorf("it lived for %s", total)
	}
	busy := heldError{wait: time.Minute, reason: "held_back: the receiver is busy"}
	if o := afterHold(db.DeliveryTarget{Held: holdStep}, busy, 0.5); o.Skipped || o.Held {
		t.Errorf("of a receiver that works: %+v", o)
	}
}

func TestAnEndpointThatFailsForDaysIsWarnedAboutAndThenDisabled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		e    db.FailingEndpoint
		want remedy
	}{
		{"not yet", db.FailingEndpoint{FailingFor: warnAfter - 1, Failures: 99}, remedyNone},
		{"a day", db.FailingEndpoint{FailingFor: warnAfter, Failures: 99}, remedyWarn},
		{"warned already", db.FailingEndpoint{FailingFor: warnAfter, Failures: 99, Warned: true}, remedyNone},
		{"nearly five days", db.FailingEndpoint{FailingFor: disableAfter - 1, Failures: 99, Warned: true}, remedyNone},
		{"five days", db.FailingEndpoint{FailingFor: disableAfter, Failures: 99, Warned: true}, remedyDisable},
		{"one failure, then nothing was sent", db.FailingEndpoint{FailingFor: disableAfter, Failures: 1}, remedyNone},
		{"failures, then nothing was sent for days", db.FailingEndpoint{FailingFor: disableAfter, Failures: 99, Quiet: disableQuiet + 1}, remedyNone},
	} {
		if got := remedyFor(c.e); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
