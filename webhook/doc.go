// Package webhook notifies receivers about tasks. It holds the payloads (Event,
// EndpointEvent), the signatures of Standard Webhooks
// (https://www.standardwebhooks.com, spec/standard-webhooks.md), the guarded HTTP
// client that sends one request, and the schedule of retries. It keeps no state:
// who gets what, and what was sent already, is remembered elsewhere.
//
//	client := webhook.NewClient(webhook.Config{})
//	defer client.Close()
//	result := client.Send(ctx, webhook.Message{URL: url, ID: webhook.NewEventID(), Body: body, Secrets: []string{secret}})
//	if !result.Delivered() {
//		wait, again := webhook.NextAttempt(attempt, result.RetryAfter, rand.Float64())
//		...
//	}
//
// Send returns no error: a Result says what came of the attempt, with the class of
// the failure (Error) and the reason for people (Detail).
//
// A receiver gets a POST with three headers:
//
//	webhook-id         the event's id, the same on every retry
//	webhook-timestamp  unix seconds of this attempt
//	webhook-signature  several separated by spaces, one per key, of id.timestamp.body:
//	                   "v1,"  + base64(HMAC-SHA256), key whsec_
//	                   "v1a," + base64(ed25519), key whsk_, verified with whpk_
//
// and answers 2xx within the timeout. Anything else, redirects included, is
// tried again. Three answers say more:
//
//	Retry-After: 120                 not before two minutes
//	webhook-delivery: abort-message  not this message again
//	webhook-delivery: disable        no webhooks any more, like the status 410
package webhook
