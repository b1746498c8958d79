package web_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/web"
)

// lines is a log that several write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// fronted is a server with a front; its handler answers by the path.
type fronted struct {
	*httptest.Server
	log     *lines
	metrics *metrics.Metrics
}

func newFronted(t *testing.T, front web.Front) *fronted {
	t.Helper()
	f := &fronted{log: &lines{}, metrics: metrics.New()}
	front.Log, front.Metrics = slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})), &f.metrics.HTTP
	inner, outer := http.NewServeMux(), http.NewServeMux()
	inner.HandleFunc("POST /v1/callbacks/{relay}/{token}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	inner.HandleFunc("GET /v1/tasks/{id}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a task") })
	inner.HandleFunc("GET /v1/panics", func(http.ResponseWriter, *http.Request) { panic("a fault") })
	inner.HandleFunc("GET /v1/panics-late", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "half"); panic("a fault") })
	inner.HandleFunc("GET /v1/file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "file", time.Time{}, strings.NewReader("a file"))
	})
	outer.Handle("/v1/", inner)
	f.Server = httptest.NewServer(front.Wrap(outer))
	t.Cleanup(f.Close)
	return f
}

// ask makes a request; header names and values alternate.
func (f *fronted) ask(t *testing.T, method, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	answer, err := f.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

// A page of another site can have its name point to this machine.
func TestOnLoopbackOnlyItsOwnNamesAreServed(t *testing.T) {
	t.Parallel()
	f := newFronted(t, web.Front{Hosts: []string{"klingwatch.example"}})
	for host, want := range map[string]int{
		"": 200, "localhost": 200, "LOCALHOST:8080": 200, "127.0.0.1": 200, "127.0.0.2:1": 200, "[::1]:8080": 200, "app.localhost": 200,
		"klingwatch.example": 200, "klingwatch.example:443": 200, "KLINGWATCH.example": 200,
		"evil.example": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421, "klingwatch.example.evil.example": 421, "192.0.2.1": 421, "0.0.0.0": 421,
	} {
		if answer, body := f.ask(t, http.MethodGet, "/v1/tasks/1", "Host", host); answer.StatusCode != want || want == 421 && strings.Contains(body, "evil") {
			t.Errorf("Host %q: HTTP %d %s, want %d", host, answer.StatusCode, body, want)
		}
	}
}

func TestPagesOfOtherSitesCallTheAPIOnlyFromGivenOrigins(t *testing.T) {
	t.Parallel()
	const origin = "https://app.example"
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type"}
	for name, c := range map[string]struct {
		origins []string
		from    string
		want    string
	}{
		"by default":           {nil, origin, ""},
		"from a given origin":  {[]string{origin}, origin, origin},
		"from another one":     {[]string{origin}, "https://evil.example", ""},
		"from one that begins": {[]string{origin}, origin + ".evil.example", ""},
	} {
		f := newFronted(t, web.Front{Origins: c.origins})
		asked, _ := f.ask(t, http.MethodOptions, "/v1/tasks/1", append(preflight, "Origin", c.from)...)
		got, _ := f.ask(t, http.MethodGet, "/v1/tasks/1", "Origin", c.from)
		for what, answer := range map[string]*http.Response{"the question": asked, "the request": got} {
			if allowed := answer.Header.Get("Access-Control-Allow-Origin"); allowed != c.want || answer.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s, %s: %v", name, what, answer.Header)
			}
		}
		if exposed := got.Header.Get("Access-Control-Expose-Headers"); (c.want != "") != strings.Contains(exposed, "Etag") {
			t.Errorf("%s: it may read %q", name, exposed)
		}
	}
}

func TestEveryRequestHasAnID(t *testing.T) {
	t.Parallel()
	f := newFronted(t, web.Front{})
	if answer, _ := f.ask(t, http.MethodGet, "/v1/tasks/1", "X-Request-Id", "order-17.a_b"); answer.Header.Get("X-Request-Id") != "order-17.a_b" {
		t.Errorf("a given id is not kept: %v", answer.Header)
	}
	seen := map[string]bool{}
	for _, given := range []string{"", "with spaces", strings.Repeat("x", 65), `"},forged="`} {
		answer, _ := f.ask(t, http.MethodGet, "/v1/tasks/1", "X-Request-Id", given)
		id := answer.Header.Get("X-Request-Id")
		if id == "" || id == given || seen[id] {
			t.Errorf("for %q the id is %q", given, id)
		}
		seen[id] = true
		if !strings.Contains(f.log.String(), "request_id="+id) {
			t.Errorf("the id %s is not in the log", id)
		}
	}
}

// Addresses of callbacks hold a secret, and so do headers and queries.
func TestTheAccessLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	f := newFronted(t, web.Front{})
	f.ask(t, http.MethodPost, "/v1/callbacks/default/hidden-token", "Authorization", "Bearer hidden-key")
	f.ask(t, http.MethodGet, "/v1/callbacks/default/hidden-token")
	f.ask(t, http.MethodGet, "/v1/tasks/1?metadata[password]=hidden-value", "Cookie", "hidden")
	f.ask(t, http.MethodGet, "/v1/nothing/hidden")
	log := f.log.String()
	for _, want := range []string{"route=\"POST /v1/callbacks/{relay}/{token}\" status=202", "route=\"GET /v1/tasks/{id}\" status=200", "method=POST", "bytes=6"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log, "hidden") {
		t.Errorf("a secret is in the log:\n%s", log)
	}
}

// The system may send a file by itself, past the writer that counts.
func TestTheAccessLogHasTheSizesOfFiles(t *testing.T) {
	t.Parallel()
	f := newFronted(t, web.Front{})
	if _, body := f.ask(t, http.MethodGet, "/v1/file"); body != "a file" {
		t.Errorf("got %q", body)
	}
	if log := f.log.String(); !strings.Contains(log, `route="GET /v1/file" status=200 bytes=6 `) {
		t.Errorf("the log is\n%s", log)
	}
}

func TestRequestsAreCountedByRoute(t *testing.T) {
	t.Parallel()
	f := newFronted(t, web.Front{})
	for _, id := range []string{"1", "2", "3"} {
		f.ask(t, http.MethodGet, "/v1/tasks/"+id)
	}
	f.ask(t, "BREW", "/v1/tasks/1")
	f.ask(t, http.MethodGet, "/nothing")
	recorder := httptest.NewRecorder()
	f.metrics.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`klingwatch_http_requests_total{status="2xx"} 3`, `klingwatch_http_request_seconds_count{route="GET /v1/tasks/{id}"} 3`,
		`klingwatch_http_requests_total{status="4xx"} 2`, `klingwatch_http_request_seconds_count{route="none"} 2`,
	} {
		if !strings.Contains(recorder.Body.String(), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestAFaultEndsItsRequestOnly(t *testing.T) {
	t.Parallel()
	f := newFronted(t, web.Front{})
	answer, body := f.ask(t, http.MethodGet, "/v1/panics")
	if id := answer.Header.Get("X-Request-Id"); answer.StatusCode != 500 || answer.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(body, "a fault") || !strings.Contains(f.log.String(), "request_id="+id+" stack=") {
		t.Errorf("%d %s\n%s", answer.StatusCode, body, f.log)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/v1/panics-late", nil)
	if err != nil {
		t.Fatal(err)
	}
	late, err := f.Client().Do(r)
	if err == nil {
		if _, err = io.ReadAll(late.Body); err == nil {
			t.Error("half an answer looks like a whole one")
		}
		_ = late.Body.Close()
	}
	if answer, _ := f.ask(t, http.MethodGet, "/v1/tasks/1"); answer.StatusCode != 200 {
		t.Errorf("after it: HTTP %d", answer.StatusCode)
	}
}
