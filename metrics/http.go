package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// HTTP are the metrics of what is served.
type HTTP struct {
	HTTPRequests *prometheus.CounterVec   // by method, route and class of status
	HTTPSeconds  *prometheus.HistogramVec // by route
}

// httpMethods are the methods that requests are told apart by; others are "other".
var httpMethods = []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete}

func newHTTP(auto promauto.Factory) HTTP {
	return HTTP{
		HTTPRequests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "klingwatch_http_requests_total", Help: "Requests that this process answered, by method, route and class of status.",
		}, []string{"method", "route", "status"}),
		HTTPSeconds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: "klingwatch_http_request_seconds", Help: "Time from a request to the end of its answer, by route; streams and waits included.", Buckets: exchangeBuckets,
		}, []string{"route"}),
	}
}

// Serve makes the metrics of a route exist before its first request.
func (h *HTTP) Serve(method, route string) {
	for _, status := range []string{"2xx", "4xx", "5xx"} {
		h.HTTPRequests.WithLabelValues(method, route, status)
	}
	h.HTTPSeconds.WithLabelValues(route)
}

// Note counts a request; route is the pattern that it matched, "" for none.
func (h *HTTP) Note(method, route string, status int, took time.Duration) {
	known := false
	for _, m := range httpMethods {
		known = known || m == method
	}
	if !known {
		method = "other"
	}
	if route == "" {
		route = "none"
	}
	class := "none" // the client left before there was an answer
	if status >= 100 {
		class = strconv.Itoa(status/100) + "xx"
	}
	h.HTTPRequests.WithLabelValues(method, route, class).Inc()
	h.HTTPSeconds.WithLabelValues(route).Observe(took.Seconds())
}
