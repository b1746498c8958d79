package worker

import (
	"context"
	"encoding/json"
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
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/webhook"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// loopback is where all receivers of the tests are.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// patience bounds waiting for something that must happen.
const patience = 90 * time.Second

// await waits until the condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// connect returns a pool on a database that a test names.
func connect(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := db.Open(t.Context(), url, 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// simulator serves a relay; lifetimes are short.
func simulator(t *testing.T, change ...func(*klingsim.Config)) (*klingsim.Relay, string) {
	t.Helper()
	cfg := klingsim.Config{Seed: 1, Lifetime: 500 * time.Millisecond, APIKey: "sk-test"}
	for _, c := range change {
		c(&cfg)
	}
	relay := klingsim.New(cfg)
	server := httptest.NewServer(relay)
	t.Cleanup(server.Close)
	return relay, server.URL
}

// config is a fast worker on the test's database and relay.
func config(t *testing.T, pool *pgxpool.Pool, relayURL string) Config {
	t.Helper()
	relay, err := klingapi.New(klingapi.Config{BaseURL: relayURL, Credential: klingapi.StaticKey("sk-test")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.Close)
	webhooks := webhook.NewClient(webhook.Config{Timeout: 2 * time.Second, AllowNetworks: loopback})
	t.Cleanup(webhooks.Close)
	return Config{
		Pool: pool, Relay: relay, Webhooks: webhooks, Metrics: metrics.New(),
		Log:          slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		PollInterval: 50 * time.Millisecond, PollRate: 2000, PollTimeout: 2 * time.Second,
		TaskDeadline: time.Hour, WebhookTimeout: 2 * time.Second,
		NotFoundGrace: 200 * time.Millisecond, SweepInterval: 200 * time.Millisecond, ProbeDistance: 300 * time.Millisecond,
	}
}

// testWriter shows warnings with the test that caused them.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// startWorker runs a worker; the returned function stops it, as the end of the
// test does.
func startWorker(t *testing.T, cfg Config) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	w := New(cfg)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// track inserts tasks under one path and returns our ids.
func track(t *testing.T, pool *pgxpool.Pool, path, callback string, ids ...string) []int64 {
	t.Helper()
	action, action2, _ := strings.Cut(path, "/")
	tasks, ours := make([]db.NewTask, len(ids)), make([]int64, len(ids))
	for i, id := range ids {
		tasks[i] = db.NewTask{TaskID: id, Action: action, Action2: action2}
		if callback != "" {
			tasks[i].CallbackURL = &callback
		}
	}
	tracked, err := ledger.Track(t.Context(), pool, tasks, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tracked {
		ours[i] = tracked[i].ID
	}
	return ours
}

// statuses returns how many tasks have each status.
func statuses(t *testing.T, pool *pgxpool.Pool) map[string]int {
	t.Helper()
	counts := map[string]int{}
	rows, err := pool.Query(t.Context(), `select status, count(*) from klingwatch.tasks group by status`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var status string
		var n int
		if err := rows.Scan(&status, &n); err != nil {
			t.Fatal(err)
		}
		counts[status] = n
	}
	return counts
}

func statusOf(t *testing.T, pool *pgxpool.Pool, id int64) db.TaskStatus {
	t.Helper()
	found, err := db.StatusesOf(t.Context(), pool, []int64{id})
	if err != nil || len(found) != 1 {
		t.Fatalf("task %d: %v, %v", id, found, err)
	}
	return found[0]
}

// number reads one number.
func number(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// consumer is a receiver that verifies signatures with a public library and
// counts what arrived by webhook-id.
type consumer struct {
	*httptest.Server
	answer func(http.ResponseWriter, *http.Request) // of a webhook with a good signature; nil: 204

	mu      sync.Mutex
	secrets []string
	events  map[string][]webhook.Event
	forged  int
}

func newConsumer(t *testing.T, secrets ...string) *consumer {
	t.Helper()
	c := &consumer{secrets: secrets, events: map[string][]webhook.Event{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

// deploymentSecret returns the key that signs callbacks.
func deploymentSecret(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	if err := ledger.PrepareKeys(t.Context(), pool, nil); err != nil {
		t.Fatal(err)
	}
	keys, err := db.SigningKeys(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return keys[0].Secret
}

func (c *consumer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	var event webhook.Event
	if !c.verify(body, r.Header) || json.Unmarshal(body, &event) != nil {
		c.forged++
		w.WriteHeader(http.StatusForbidden)
		return
	}
	id := r.Header.Get("webhook-id")
	c.events[id] = append(c.events[id], event)
	if c.answer != nil {
		c.answer(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c *consumer) verify(body []byte, header http.Header) bool {
	for _, secret := range c.secrets {
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err == nil && verifier.Verify(body, header) == nil {
			return true
		}
	}
	return false
}

// received returns the events by webhook-id; each slice has one entry per POST.
func (c *consumer) received() map[string][]webhook.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	copied := make(map[string][]webhook.Event, len(c.events))
	for id, events := range c.events {
		copied[id] = append([]webhook.Event(nil), events...)
	}
	return copied
}
