package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// AttemptResults are the results of a webhook request.
var AttemptResults = []string{
	"delivered", "blocked_address", "dns_error", "connection_refused", "tls_error", "timeout", "network_error",
	"redirect_refused", "http_status", "invalid_url", "signing_error",
}

// Webhooks has the metrics of this process's requests to receivers, most of whose
// failures are the fault of the receiver. Times are in seconds.
type Webhooks struct {
	Attempts          *prometheus.CounterVec // by result: AttemptResults
	AttemptSeconds    prometheus.Histogram   // duration of one webhook request
	DeliveryLag       prometheus.Histogram   // from an event to its first request
	Exhausted         prometheus.Counter     // deliveries given up after the last attempt
	BreakersOpen      prometheus.Gauge       // receivers that keep failing and are held back
	WebhooksSending   prometheus.Gauge       // webhook requests in progress
	EndpointsDisabled prometheus.Counter     // because they asked for it, or failed for days
}

func newWebhooks(auto promauto.Factory) Webhooks {
	return Webhooks{
		Attempts: counters(auto, "klingwatch_webhook_attempts_total",
			"Webhook requests by result: delivered, or the kind of failure. Most failures are the receiver's fault, not klingwatch's.", "result", AttemptResults),
		AttemptSeconds: histogram(auto, "klingwatch_webhook_duration_seconds",
			"Duration of one webhook request.", exchangeBuckets),
		DeliveryLag: histogram(auto, "klingwatch_webhook_lag_seconds",
			"Time from an event to its first webhook request.", waitBuckets),
		Exhausted: counter(auto, "klingwatch_webhook_exhausted_total",
			"Deliveries given up after the last attempt."),
		BreakersOpen: gauge(auto, "klingwatch_webhook_breakers_open",
			"Receivers that keep failing, so that this process holds their webhooks back; a host that cannot be reached counts as one. That is the receiver's fault, not klingwatch's."),
		WebhooksSending: gauge(auto, "klingwatch_webhook_requests_in_flight",
			"Webhook requests in progress."),
		EndpointsDisabled: counter(auto, "klingwatch_webhook_endpoints_disabled_total",
			"Endpoints disabled because they asked for it or failed for days."),
	}
}
