package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/web"
)

// publicKey is the one of the Standard Webhooks specification's example.
const publicKey = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="

func get(t *testing.T, checks []web.Check, path string) *httptest.ResponseRecorder {
	t.Helper()
	m := metrics.New()
	m.Build.WithLabelValues("v1").Set(1)
	recorder := httptest.NewRecorder()
	web.Handler(checks, m.Handler(), func(context.Context) ([]string, error) { return []string{publicKey}, nil }, http.NotFoundHandler(), http.NotFoundHandler()).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder
}

func TestReadyzReportsEveryCheck(t *testing.T) {
	t.Parallel()
	fine := web.Check{Name: "database", Ask: func(context.Context) error { return nil }}
	broken := web.Check{Name: "worker", Ask: func(context.Context) error { return errors.New("River is not running") }}
	paused := web.Check{Name: "polling", Ask: func(context.Context) error {
		return fmt.Errorf("asking: %w", web.Advisory(errors.New("paused")))
	}}
	for _, c := range []struct {
		checks []web.Check
		code   int
		want   web.Readiness
	}{
		{[]web.Check{fine}, 200, web.Readiness{Ready: true, Checks: map[string]string{"database": "ok"}}},
		{[]web.Check{fine, broken}, 503, web.Readiness{Checks: map[string]string{"database": "ok", "worker": "River is not running"}}},
		{[]web.Check{paused, broken}, 503, web.Readiness{Checks: map[string]string{"polling": "asking: paused", "worker": "River is not running"}}},
		{[]web.Check{fine, paused}, 200, web.Readiness{Ready: true, Checks: map[string]string{"database": "ok", "polling": "asking: paused"}}},
	} {
		recorder := get(t, c.checks, "/readyz")
		var got web.Readiness
		if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil || recorder.Code != c.code || got.Ready != c.want.Ready {
			t.Errorf("%d %s (%v), want %d", recorder.Code, recorder.Body, err, c.code)
		}
		for name, want := range c.want.Checks {
			if got.Checks[name] != want {
				t.Errorf("%s: %q, want %q", name, got.Checks[name], want)
			}
		}
	}
}

func TestAnAdvisoryNothingIsNothing(t *testing.T) {
	t.Parallel()
	if err := web.Advisory(nil); err != nil {
		t.Errorf("Advisory(nil) = %v", err)
	}
	if cause := errors.New("paused"); !errors.Is(web.Advisory(cause), cause) {
		t.Error("an advisory error hides its cause")
	}
}

func TestACheckThatHangsChangesNothingForTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		released := make(chan struct{})
		defer close(released)
		slowly := func(ctx context.Context) error { // takes most of the time that it has
			select {
			case <-time.After(2 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		patiently := func(ctx context.Context) error { <-ctx.Done(); return web.Advisory(errors.New("still waiting")) }
		hung := func(context.Context) error { <-released; return nil }
		begun := time.Now()
		recorder := get(t, []web.Check{{"hung", hung}, {"first", slowly}, {"advisory", patiently}, {"second", slowly}}, "/readyz")
		if took := time.Since(begun); took > 3500*time.Millisecond {
			t.Errorf("/readyz took %s", took)
		}
		var got web.Readiness
		if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil || got.Ready {
			t.Errorf("%s (%v)", recorder.Body, err)
		}
		want := map[string]string{"hung": "no answer within 3s", "first": "ok", "advisory": "still waiting", "second": "ok"}
		if !maps.Equal(got.Checks, want) {
			t.Errorf("%q, want %q", got.Checks, want)
		}
	})
}

func TestTheProcessIsAliveAndMeasured(t *testing.T) {
	t.Parallel()
	if r := get(t, nil, "/livez"); r.Code != 200 || r.Body.String() != "ok\n" {
		t.Errorf("/livez: %d %s", r.Code, r.Body)
	}
	if r := get(t, nil, "/.well-known/jwks.json"); r.Code != 200 || !strings.Contains(r.Body.String(), `"x":"1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4"`) {
		t.Errorf("/.well-known/jwks.json: %d %s", r.Code, r.Body)
	}
	if r := get(t, nil, "/metrics"); r.Code != 200 || !strings.Contains(r.Body.String(), `klingwatch_build_info{version="v1"} 1`) {
		t.Errorf("/metrics: %d %s", r.Code, r.Body)
	}
}
