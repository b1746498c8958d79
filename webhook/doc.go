// Package webhook tells receivers about tasks. It knows the payload (Event,
// Task, Output), the signature of Standard Webhooks
// (https://www.standardwebhooks.com, spec/standard-webhooks.md), the guarded
// HTTP client that sends one request, and the schedule of retries. It is pure:
// who gets what, and what was sent already, is remembered elsewhere.
//
// A receiver gets a POST with three headers:
//
//	webhook-id         the event's id, the same on every retry
//	webhook-timestamp  unix seconds of this attempt
//	webhook-signature  "v1," + base64(HMAC-SHA256(key, id.timestamp.body)), several separated by spaces
//
// and answers 2xx. Anything else, redirects included, is tried again.
package webhook
