// Package webhook notifies receivers about tasks. It has the payloads (Event,
// ThinEvent, EndpointEvent, TestEvent) and their JSON Schema, the signatures of Standard Webhooks
// (https://www.standardwebhooks.com, spec/standard-webhooks.md), the guarded HTTP
// client that sends one request, and the schedule of retries. It keeps no state:
// callers decide which receiver gets which event, and remember what was sent.
//
//	client := webhook.NewClient(webhook.Config{})
//	defer client.Close()
//	result := client.Send(ctx, webhook.Message{URL: url, ID: webhook.NewEventID(), Body: body, Secrets: []string{secret}})
//	if !result.Delivered() {
//		wait, again := webhook.NextAttempt(attempt, result.RetryAfter, rand.Float64())
//		...
//	}
//
// Send returns no error: a Result has the outcome of the attempt, with the class of
// the failure (Error) and the reason for people (Detail).
//
// A receiver gets a POST with three headers:
//
//	webhook-id         the event's id, the same on every retry (EventID)
//	webhook-timestamp  unix seconds of this attempt
//	webhook-signature  of id.timestamp.body, one for each key, separated by spaces:
//	                   "v1,"  + base64(HMAC-SHA256), key whsec_
//	                   "v1a," + base64(ed25519), key whsk_, verified with whpk_
//
// and must answer 2xx within the timeout. After any other answer, a redirect
// included, the webhook is sent again. With these headers a receiver asks for more:
//
//	Retry-After: 120                 wait at least two minutes
//	webhook-delivery: abort-message  do not send this message again
//	webhook-delivery: disable        send no more webhooks, like the status 410
package webhook
