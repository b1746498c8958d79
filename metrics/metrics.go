// Package metrics holds every metric of the service. Label sets are closed:
// each label value is a constant of the code, never text from outside.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the counters and gauges of one process.
type Metrics struct {
	registry *prometheus.Registry

	Polls             *prometheus.CounterVec // by outcome: finished, changed, unchanged, not_found, refused, throttled, unreachable, unreadable
	PollSeconds       prometheus.Histogram   // one upstream exchange
	UnknownWords      prometheus.Counter     // replies with a status word that is not in the table
	PollingPaused     prometheus.Gauge       // 1 while the credential is refused
	StatusChanges     *prometheus.CounterVec // by status
	Attempts          *prometheus.CounterVec // webhook requests by result: delivered, or the class of the failure
	AttemptSeconds    prometheus.Histogram   // one webhook request
	DeliveryLag       prometheus.Histogram   // from an event to its first request
	Exhausted         prometheus.Counter     // deliveries given up
	BreakersOpen      prometheus.Gauge       // webhook receivers that are held back
	WebhooksSending   prometheus.Gauge       // webhook requests on their way
	EndpointsDisabled prometheus.Counter     // by receivers, or because they failed for days
	Pruned            *prometheus.CounterVec // old rows deleted, by what: deliveries, tasks
	MissingJobs       prometheus.Counter     // jobs that the sweep had to give
	ReturnedJobs      prometheus.Counter     // jobs taken over from instances that are gone
	OpenTasks         *prometheus.GaugeVec   // by status, as the sweep counted them
	Build             *prometheus.GaugeVec   // version
}

// New returns the metrics of one process, with those of the Go runtime.
func New() *Metrics {
	seconds := []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		Polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "klingwatch_polls_total", Help: "Questions to the relay by outcome.",
		}, []string{"outcome"}),
		PollSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "klingwatch_poll_duration_seconds", Help: "Duration of one question to the relay.", Buckets: seconds,
		}),
		UnknownWords: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "klingwatch_unknown_status_words_total", Help: "Replies with a status word that klingwatch does not know; they count as still running.",
		}),
		PollingPaused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "klingwatch_polling_paused", Help: "1 while polling is paused because the relay refuses the credential, else 0.",
		}),
		StatusChanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "klingwatch_status_changes_total", Help: "Status changes of tasks by the new status.",
		}, []string{"status"}),
		Attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "klingwatch_webhook_attempts_total", Help: "Webhook requests by result: delivered, or the class of the failure. A receiver's failure is not klingwatch's.",
		}, []string{"result"}),
		AttemptSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "klingwatch_webhook_duration_seconds", Help: "Duration of one webhook request.", Buckets: seconds,
		}),
		Exhausted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "klingwatch_webhook_exhausted_total", Help: "Deliveries given up after the last attempt.",
		}),
		DeliveryLag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "klingwatch_webhook_lag_seconds", Help: "Time from an event to its first webhook request.", Buckets: seconds,
		}),
		BreakersOpen: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "klingwatch_webhook_breakers_open", Help: "Receivers that keep failing and whose webhooks are held back by this process. A receiver's failure is not klingwatch's.",
		}),
		WebhooksSending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "klingwatch_webhook_requests_in_flight", Help: "Webhook requests on their way.",
		}),
		EndpointsDisabled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "klingwatch_webhook_endpoints_disabled_total", Help: "Endpoints disabled because they asked for it or failed for days.",
		}),
		Pruned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "klingwatch_pruned_total", Help: "Deliveries and tasks deleted because they ended longer ago than their retention.",
		}, []string{"what"}),
		MissingJobs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "klingwatch_missing_jobs_total", Help: "River jobs that were gone and given anew to their tasks and deliveries.",
		}),
		ReturnedJobs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "klingwatch_returned_jobs_total", Help: "Running jobs taken over from instances that are gone.",
		}),
		OpenTasks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "klingwatch_open_tasks", Help: "Tasks that are not terminal, by status, counted by the sweep.",
		}, []string{"status"}),
		Build: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "klingwatch_build_info", Help: "1, with the version as label.",
		}, []string{"version"}),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.Polls, m.PollSeconds, m.UnknownWords, m.PollingPaused, m.StatusChanges, m.Attempts, m.AttemptSeconds, m.Exhausted,
		m.DeliveryLag, m.BreakersOpen, m.WebhooksSending, m.EndpointsDisabled, m.Pruned,
		m.MissingJobs, m.ReturnedJobs, m.OpenTasks, m.Build)
	return m
}

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
