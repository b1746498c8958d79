package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
	web.Handler(checks, m.Handler(), func(context.Context) ([]string, error) { return []string{publicKey}, nil }).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder
}

func TestReadyzTellsEveryCheck(t *testing.T) {
	t.Parallel()
	fine := web.Check{Name: "database", Ask: func(context.Context) error { return nil }}
	broken := web.Check{Name: "worker", Ask: func(context.Context) error { return errors.New("River is not running") }}
	paused := web.Check{Name: "polling", Ask: func(context.Context) error { return errors.New("paused") }, Advisory: true}
	for _, c := range []struct {
		checks []web.Check
		code   int
		want   web.Readiness
	}{
		{[]web.Check{fine}, 200, web.Readiness{Ready: true, Checks: map[string]string{"database": "ok"}}},
		{[]web.Check{fine, broken}, 503, web.Readiness{Checks: map[string]string{"database": "ok", "worker": "River is not running"}}},
		{[]web.Check{fine, paused}, 200, web.Readiness{Ready: true, Checks: map[string]string{"database": "ok", "polling": "paused"}}},
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
