// Package web serves what machines and people ask a process over HTTP: health, metrics,
// public keys, the API and the pages.
//
//	GET /livez                  200 while the process serves
//	GET /readyz                 200 while it can do its work, else 503; Readiness as JSON
//	GET /metrics                Prometheus
//	GET /.well-known/jwks.json  the public keys of webhook signatures
//	/v1/...                     the API, see web/api; GET /docs describes it
//	/                           the pages, see web/pages
//
// A Front stands before them.
//
//	checks := []web.Check{{Name: "database", Ask: func(ctx context.Context) error { return pool.Ping(ctx) }}}
//	server := &http.Server{Handler: front.Wrap(web.Handler(checks, metrics.Handler(), keys, api, pages))}
package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// checkTimeout bounds each readiness check by itself.
	checkTimeout = 3 * time.Second
	// checkGrace is how much longer /readyz waits for a check whose time is up, so
	// that the check can say what it waited for.
	checkGrace = 250 * time.Millisecond
)

// Check is one condition of readiness.
type Check struct {
	Name string // as in the body of /readyz
	// Ask returns nil when the condition holds, else what is wrong. An error made
	// by Advisory is reported without making the process unready. Ask must return
	// soon after its context ends.
	Ask func(context.Context) error
}

// Advisory marks what a check found as advisory: /readyz reports it, but it is no
// reason to send traffic elsewhere or to restart. It returns nil for nil.
func Advisory(err error) error {
	if err == nil {
		return nil
	}
	return advisory{err}
}

type advisory struct{ error }

func (a advisory) Unwrap() error { return a.error }

// Handler serves the paths of the package comment. /readyz makes all checks at the
// same time, each within 3 s.
func Handler(checks []Check, metrics http.Handler, keys Keys, api, pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /readyz", readyz(checks))
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /.well-known/jwks.json", jwks(keys))
	for _, place := range []string{"/v1/", "/docs", "/docs/"} {
		mux.Handle(place, api)
	}
	return mux
}

// Readiness is the body of /readyz.
type Readiness struct {
	Ready  bool              `json:"ready"`  // every check passed, or found only what is advisory
	Checks map[string]string `json:"checks"` // by name: "ok", or what is wrong
}

func readyz(checks []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		state := ask(r.Context(), checks)
		w.Header().Set("Content-Type", "application/json")
		if !state.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(state)
	}
}

// ask makes all checks at the same time, so that a slow one does not take the
// time of the others.
func ask(ctx context.Context, checks []Check) Readiness {
	findings := make([]error, len(checks))
	var asking sync.WaitGroup
	for i, check := range checks {
		asking.Go(func() { findings[i] = check.ask(ctx) })
	}
	asking.Wait()
	state := Readiness{Ready: true, Checks: map[string]string{}}
	for i, err := range findings {
		state.Checks[checks[i].Name] = "ok"
		if err != nil {
			_, advised := errors.AsType[advisory](err)
			state.Ready = state.Ready && advised
			state.Checks[checks[i].Name] = err.Error()
		}
	}
	return state
}

// ask asks within checkTimeout. A check that hangs is left behind.
func (c Check) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	finding := make(chan error, 1)
	go func() { finding <- c.Ask(ctx) }()
	select {
	case err := <-finding:
		return err
	case <-time.After(checkTimeout + checkGrace):
		return fmt.Errorf("no answer within %s", checkTimeout)
	}
}
