package metrics

import (
	"cmp"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// HTTP are the metrics of what is served.
type HTTP struct {
	HTTPRequests *prometheus.CounterVec   // by class of status
	HTTPSeconds  *prometheus.HistogramVec // by route
}

func newHTTP(auto promauto.Factory) HTTP {
	h := HTTP{
		HTTPRequests: counters(auto, "klingwatch_http_requests_total",
			"Requests that this process answered, by class of status; none: the client left before. klingwatch_http_request_seconds counts them by route.",
			"status", []string{"2xx", "3xx", "4xx", "5xx", noStatus}),
		HTTPSeconds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: "klingwatch_http_request_seconds", Help: "Time from a request to the end of its answer, by route; streams and waits included.", Buckets: exchangeBuckets,
		}, []string{"route"}),
	}
	h.Serve(noRoute)
	return h
}

const (
	noRoute  = "none" // an address that nobody serves
	noStatus = "none"
)

// Serve makes the metrics of a route exist before its first request.
func (h *HTTP) Serve(route string) { h.HTTPSeconds.WithLabelValues(route) }

// Note counts a request; route is the pattern that it matched, like GET /v1/tasks, "" for
// none, and status 0 where the client left before there was an answer.
func (h *HTTP) Note(route string, status int, took time.Duration) {
	class := noStatus
	if status >= 100 {
		class = strconv.Itoa(status/100) + "xx"
	}
	h.HTTPRequests.WithLabelValues(class).Inc()
	h.HTTPSeconds.WithLabelValues(cmp.Or(route, noRoute)).Observe(took.Seconds())
}
