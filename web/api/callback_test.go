package api

import (
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	dto "github.com/prometheus/client_model/go"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

// callbackLine is the server of one deployment that takes callbacks.
type callbackLine struct {
	*httptest.Server
	pool   *pgxpool.Pool
	ring   *keyring.Keyring
	token  string
	logged bytes.Buffer
	taken  *metrics.Callbacks
}

func newCallbackLine(t *testing.T) *callbackLine {
	t.Helper()
	l := &callbackLine{pool: dbtest.New(t), taken: &metrics.New().Callbacks}
	var err error
	if l.token, err = operate.MakeCallbackToken(t.Context(), l.pool, db.DefaultRelay); err != nil {
		t.Fatal(err)
	}
	if l.ring, err = keyring.Parse("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="); err != nil {
		t.Fatal(err)
	}
	if _, err := operate.Track(t.Context(), l.pool, []db.NewTask{{TaskID: "running", Action: "videos", Action2: "text2video"}}); err != nil {
		t.Fatal(err)
	}
	return l
}

// serve begins to take callbacks.
func (l *callbackLine) serve(t *testing.T) {
	t.Helper()
	mux := http.NewServeMux()
	log := slog.New(slog.NewTextHandler(&l.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mux.Handle(CallbackPattern, Callbacks(operate.NewCallbacks(l.pool, l.ring, 5*time.Second), l.taken, log))
	l.Server = httptest.NewServer(mux)
	t.Cleanup(l.Close)
}

// post posts a body and returns status, headers and body of the answer.
func (l *callbackLine) post(t *testing.T, method, path, body string, header http.Header) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, l.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(request.Header, header)
	answer, err := l.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(said)
}

// count is how many callbacks had an outcome.
func (l *callbackLine) count(t *testing.T, outcome operate.CallbackOutcome) float64 {
	t.Helper()
	var read dto.Metric
	if err := l.taken.CallbacksTaken.WithLabelValues(string(outcome)).Write(&read); err != nil {
		t.Fatal(err)
	}
	return read.GetCounter().GetValue()
}

func TestHowCallbacksAreAnswered(t *testing.T) {
	t.Parallel()
	l := newCallbackLine(t)
	l.serve(t)
	right := operate.CallbackPath(db.DefaultRelay, l.token)
	for _, test := range []struct {
		name, method, path, body string
		want                     int
		outcome                  operate.CallbackOutcome
	}{
		{"a task that is tracked", "POST", right, `{"task_id":"running","task_status":"succeed"}`, 202, operate.CallbackHeeded},
		{"the new family", "POST", right, `{"id":"running","status":"succeeded"}`, 202, operate.CallbackHeeded},
		{"a task that is not inserted yet", "POST", right, `{"task_id":"young"}`, 202, operate.CallbackUnknown},
		{"about no task", "POST", right, `{"event":"ping"}`, 202, operate.CallbackUnreadable},
		{"no JSON", "POST", right, `hello`, 202, operate.CallbackUnreadable},
		{"another token", "POST", right + "x", `{"task_id":"running"}`, 404, operate.CallbackRefused},
		{"no such relay", "POST", operate.CallbackPath("second", l.token), `{"task_id":"running"}`, 404, operate.CallbackRefused},
		{"a huge body", "POST", right, `{"task_id":"running","x":"` + strings.Repeat("x", maxCallback) + `"}`, 413, operate.CallbackTooLarge},
		{"a browser", "GET", right, "", 405, ""},
	} {
		before := 0.0
		if test.outcome != "" {
			before = l.count(t, test.outcome)
		}
		status, header, body := l.post(t, test.method, test.path, test.body, nil)
		if status != test.want || body != "" || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q %v", test.name, status, body, header)
		}
		if test.outcome != "" && l.count(t, test.outcome) != before+1 {
			t.Errorf("%s: not counted as %s", test.name, test.outcome)
		}
	}
	for range 10_000 {
		status, header, _ := l.post(t, "POST", right, `{"task_id":"young"}`, nil)
		if status != http.StatusAccepted {
			if wait, err := strconv.Atoi(header.Get("Retry-After")); status != http.StatusTooManyRequests || err != nil || wait < 1 {
				t.Errorf("a relay that calls too often: %d, Retry-After %q", status, header.Get("Retry-After"))
			}
			break
		}
	}
	if l.count(t, operate.CallbackTooMany) != 1 {
		t.Error("a relay may call as often as it likes")
	}
	if status, _, _ := l.post(t, "POST", right+"x", "", nil); status != http.StatusNotFound {
		t.Errorf("who has no token is told of the limit: %d", status)
	}
}

func TestAnUnsignedCallbackIsRefusedWhereASecretIsSet(t *testing.T) {
	t.Parallel()
	l := newCallbackLine(t)
	secret := webhook.NewSecret()
	if err := operate.SetCallbackSecret(t.Context(), l.pool, l.ring, db.DefaultRelay, secret); err != nil {
		t.Fatal(err)
	}
	l.serve(t)
	const body = `{"id":"running","status":"succeeded"}`
	path := operate.CallbackPath(db.DefaultRelay, l.token)
	now := time.Now()
	signature, err := webhook.Sign([]string{secret}, "1", now, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	signed := http.Header{"Webhook-Id": {"1"}, "Webhook-Timestamp": {strconv.FormatInt(now.Unix(), 10)}, "Webhook-Signature": {signature}}
	if status, _, _ := l.post(t, "POST", path, body, signed); status != http.StatusAccepted {
		t.Errorf("signed: %d", status)
	}
	if status, _, _ := l.post(t, "POST", path, body, nil); status != http.StatusUnauthorized || l.count(t, operate.CallbackUnsigned) != 1 {
		t.Errorf("not signed: %d", status)
	}
}

func TestADatabaseInTroubleIsToldOnceWithoutSecrets(t *testing.T) {
	t.Parallel()
	l := newCallbackLine(t)
	secret := webhook.NewSecret()
	if err := operate.SetCallbackSecret(t.Context(), l.pool, l.ring, db.DefaultRelay, secret); err != nil {
		t.Fatal(err)
	}
	l.ring = nil // the service lacks the key
	l.serve(t)
	path := operate.CallbackPath(db.DefaultRelay, l.token)
	for range 3 {
		if status, header, _ := l.post(t, "POST", path, `{"task_id":"running"}`, nil); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
			t.Errorf("the secret cannot be opened: %d", status)
		}
	}
	l.pool.Close()
	l.Close()
	if logged := l.logged.String(); strings.Count(logged, "\n") != 1 || strings.Contains(logged, l.token) || strings.Contains(logged, secret) {
		t.Errorf("logged: %s", logged)
	}
	answer := httptest.NewRecorder()
	Callbacks(operate.NewCallbacks(l.pool, nil, time.Second), l.taken, slog.New(slog.DiscardHandler)).
		ServeHTTP(answer, httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}")))
	if answer.Code != http.StatusServiceUnavailable {
		t.Errorf("without a database: %d", answer.Code)
	}
}

func TestATokenIsNotLogged(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/v1/callbacks/default/s3cret":      "/v1/callbacks/default/...",
		"/v1/callbacks/default/s3cret/more": "/v1/callbacks/default/...",
		"/v1/tasks/7":                       "/v1/tasks/7",
	} {
		if got := SafePath(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// metrics knows no package of ours: that its label values are the words of the code is
// seen here.
func TestOutcomesOfCallbacksAreTheWordsOfTheCode(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../operate/callback.go")
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, found := range regexp.MustCompile(`CallbackOutcome = "([a-z_]+)"`).FindAllSubmatch(source, -1) {
		words = append(words, string(found[1]))
	}
	if !slices.Equal(slices.Sorted(slices.Values(words)), slices.Sorted(slices.Values(metrics.CallbackOutcomes))) {
		t.Errorf("the metrics have %q, the code %q", metrics.CallbackOutcomes, words)
	}
}
