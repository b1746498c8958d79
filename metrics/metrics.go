// Package metrics has all metrics of the service; docs/metrics.md lists them.
//
//	m := metrics.New()
//	m.WatchPool(pool)
//	m.Polls.WithLabelValues("finished").Inc()
//	mux.Handle("GET /metrics", m.Handler())
//
// The values of labels are constants of the code, or the names of relays, never text
// from outside, and all of them are served from the start, so that rate() sees the first
// increment.
//
//	polling.go   requests to the relay
//	webhooks.go  requests to receivers
//	feed.go      the order of events, and who listens to them
//	callbacks.go requests of relays
//	http.go      requests that are served
//	archive.go   files that are kept
//	sweep.go     what the sweep does, and what it reads from the database
//	pool.go      connections to the database
package metrics

import (
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics has the metrics of one process. It is safe for concurrent use.
type Metrics struct {
	Polling
	Webhooks
	Feed
	Callbacks
	HTTP
	Archive
	Sweep
	Build *prometheus.GaugeVec // by version, which the caller sets

	registry *prometheus.Registry
	pool     *poolCollector
}

// New returns the metrics of one process, including those of the Go runtime.
func New() *Metrics {
	registry, pool := prometheus.NewRegistry(), newPoolCollector()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), pool)
	auto := promauto.With(registry)
	return &Metrics{
		Polling:   newPolling(auto),
		Webhooks:  newWebhooks(auto),
		Callbacks: newCallbacks(auto),
		Feed:      newFeed(auto),
		HTTP:      newHTTP(auto),
		Archive:   newArchive(auto),
		Sweep:     newSweep(auto),
		Build: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "klingwatch_build_info", Help: "Always 1; the label is the version.",
		}, []string{"version"}),
		registry: registry,
		pool:     pool,
	}
}

// Handler serves the metrics to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// The upper bounds of histograms, in seconds: for an exchange and for a wait.
var (
	exchangeBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20}
	waitBuckets     = append(slices.Clone(exchangeBuckets), 60, 300, 900)
)

func counter(auto promauto.Factory, name, help string) prometheus.Counter {
	return auto.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func gauge(auto promauto.Factory, name, help string) prometheus.Gauge {
	return auto.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func histogram(auto promauto.Factory, name, help string, buckets []float64) prometheus.Histogram {
	return auto.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}

// counters makes a counter for each value of a label.
func counters(auto promauto.Factory, name, help, label string, values []string) *prometheus.CounterVec {
	vec := auto.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	for _, value := range values {
		vec.WithLabelValues(value)
	}
	return vec
}

// gauges makes a gauge for each value of a label.
func gauges(auto promauto.Factory, name, help, label string, values []string) *prometheus.GaugeVec {
	vec := auto.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{label})
	for _, value := range values {
		vec.WithLabelValues(value)
	}
	return vec
}
