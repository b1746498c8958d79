// Package web shows: health and metrics, for machines and for the operator.
//
//	GET /livez    200 while the process serves
//	GET /readyz   200 when every check passes, else 503; JSON with the reason of each
//	GET /metrics  Prometheus
//	GET /.well-known/jwks.json  the public keys of webhook signatures
package web

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// checkTimeout bounds one readiness check.
const checkTimeout = 3 * time.Second

// Check is one condition of readiness.
type Check struct {
	Name string                      // as in the body of /readyz
	Ask  func(context.Context) error // nil: passed
	// Advisory checks are told but do not decide: what they report is no reason
	// to send traffic elsewhere or to restart.
	Advisory bool
}

// Handler serves health, metrics and public keys.
func Handler(checks []Check, metrics http.Handler, keys Keys) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /readyz", readyz(checks))
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /.well-known/jwks.json", jwks(keys))
	return mux
}

// Readiness is the body of /readyz.
type Readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"` // by name: "ok", or what is wrong
}

func readyz(checks []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		state := Readiness{Ready: true, Checks: map[string]string{}}
		for _, check := range checks {
			state.Checks[check.Name] = "ok"
			if err := check.Ask(ctx); err != nil {
				state.Ready = state.Ready && check.Advisory
				state.Checks[check.Name] = err.Error()
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if !state.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(state)
	}
}
