// Package webhook tells receivers about tasks. It knows the payloads (Event,
// EndpointEvent), the signatures of Standard Webhooks
// (https://www.standardwebhooks.com, spec/standard-webhooks.md), the encryption
// of the keys at rest (Keyring), the guarded HTTP client that sends one request,
// and the schedule of retries. It is pure: who gets what, and what was sent
// already, is remembered elsewhere.
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
