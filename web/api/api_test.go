package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/feed"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

// service is an API on a database of its own, with a key of each scope.
type service struct {
	*testing.T
	pool *pgxpool.Pool
	api  *API
	url  string
	keys map[string]string // by scope; "app": of scope write, restricted to the app studio
}

func newService(t *testing.T, change ...func(*Config)) *service {
	t.Helper()
	s := &service{T: t, pool: dbtest.New(t), keys: map[string]string{}}
	var err error
	log, m := slog.New(slog.NewTextHandler(t.Output(), nil)), metrics.New()
	events := feed.New(s.pool, &m.Feed, log)
	cfg := Config{Pool: s.pool, Feed: events, Log: log, TaskDeadline: time.Hour, Webhooks: webhook.NewClient(webhook.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})}
	for _, f := range change {
		f(&cfg)
	}
	s.api, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	running.Go(func() { events.Run(ctx) })
	running.Go(func() { s.api.Run(ctx) })
	t.Cleanup(func() { events.Close(); stop(); running.Wait() })
	server := httptest.NewServer(s.api)
	t.Cleanup(server.Close)
	s.url = server.URL
	for _, scope := range db.Scopes {
		s.keys[scope] = s.newKey(operate.NewAPIKey{Name: scope, Scope: scope})
	}
	s.keys["app"] = s.newKey(operate.NewAPIKey{Name: "app", Scope: db.ScopeWrite, App: "studio"})
	return s
}

func (s *service) newKey(n operate.NewAPIKey) string {
	s.Helper()
	_, text, err := operate.AddAPIKey(s.Context(), s.pool, n)
	if err != nil {
		s.Fatal(err)
	}
	return text
}

// exec prepares the database.
func (s *service) exec(sql string) {
	s.Helper()
	if _, err := s.pool.Exec(s.Context(), sql); err != nil {
		s.Fatal(err)
	}
}

// scenario is a request and what its answer must and must not hold.
type scenario struct {
	name    string
	request string // method and path
	key     string // of service.keys; "": none
	headers map[string]string
	body    string
	status  int
	has     []string // in the answer: its headers as "Name: value", or its body
	hasNot  []string
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

// send makes a request.
func (s *service) send(sc scenario) answer {
	s.Helper()
	method, path, _ := strings.Cut(sc.request, " ")
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(sc.body))
	if err != nil {
		s.Fatal(err)
	}
	if sc.key != "" {
		key := sc.key
		if known := s.keys[key]; known != "" {
			key = known
		}
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if sc.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range sc.headers {
		r.Header.Set(name, value)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		s.Fatal(err)
	}
	if wrong := s.violations(r, got, text); wrong != "" {
		s.Error(wrong)
	}
	return answer{got, string(text)}
}

// try makes a request and checks the answer.
func (s *service) try(sc scenario) answer {
	s.Helper()
	got := s.send(sc)
	tried.note(s.operationOf(got.Request), got.StatusCode)
	shown := got.body
	for name, values := range got.Header {
		if name == "Date" { // its digits are anybody's
			continue
		}
		shown += "\n" + name + ": " + strings.Join(values, ", ")
	}
	if got.StatusCode != sc.status {
		s.Errorf("%s (%s): HTTP %d, want %d: %s", sc.name, sc.request, got.StatusCode, sc.status, got.body)
	}
	for _, text := range sc.has {
		if !strings.Contains(shown, text) {
			s.Errorf("%s (%s): no %s in %s", sc.name, sc.request, text, shown)
		}
	}
	for _, text := range append(sc.hasNot, "SQLSTATE", "klingwatch.tasks", "pgx") {
		if strings.Contains(shown, text) {
			s.Errorf("%s (%s): %s in %s", sc.name, sc.request, text, shown)
		}
	}
	return got
}

// specification is the document, for checks of answers; it is the same for all tests.
var specification = sync.OnceValues(func() (validator.Validator, error) {
	a, err := New(Config{})
	if err != nil {
		return nil, err
	}
	document, err := libopenapi.NewDocument(a.Spec())
	if err != nil {
		return nil, err
	}
	checker, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return checker, nil
})

var checking sync.Mutex

// operationOf is the pattern of the operation that a request is for; "": it is for none.
func (s *service) operationOf(r *http.Request) string {
	_, pattern := s.api.mux.Handler(r)
	if !strings.Contains(pattern, " /v1/") || strings.Contains(pattern, "openapi") {
		return ""
	}
	return pattern
}

// violations tells what of an answer is not as the specification says.
func (s *service) violations(r *http.Request, got *http.Response, body []byte) string {
	s.Helper()
	checker, err := specification()
	if err != nil {
		s.Fatal(err)
	}
	if s.operationOf(r) == "" {
		return ""
	}
	checking.Lock()
	defer checking.Unlock()
	copied := *got
	copied.Body = io.NopCloser(bytes.NewReader(body))
	ok, problems := checker.ValidateHttpResponse(r, &copied)
	if ok {
		return ""
	}
	var reasons []string
	for _, p := range problems {
		reasons = append(reasons, p.Message, p.Reason)
		for _, detail := range p.SchemaValidationErrors {
			reasons = append(reasons, detail.Reason)
		}
	}
	return fmt.Sprintf("%s %s: the answer is not what the specification says: %s\n%d %s", r.Method, r.URL, strings.Join(reasons, "; "), got.StatusCode, body)
}

// fields decodes an answer.
func (a answer) fields(t *testing.T) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(a.body), &fields); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return fields
}
