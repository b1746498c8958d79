package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/api"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/worker"
)

// callbackLine is the address in what relays callback prints.
var callbackLine = regexp.MustCompile(`(?m)^/v1/callbacks/([a-z]+)/([A-Z0-9]{40,})$`)

func TestAnAddressForCallbacksIsMadeAndRevoked(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	env := []string{"DATABASE_URL=" + url, "KLINGWATCH_ENCRYPTION_KEY=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
	pool := open(t, url)
	works := func(token string) bool {
		_, err := operate.NewCallbacks(pool, nil, time.Second).Door(t.Context(), db.DefaultRelay, token)
		return err == nil
	}
	made := callbackLine.FindStringSubmatch(klingwatch(t, env, "relays", "callback"))
	if made == nil || made[1] != db.DefaultRelay || !works(made[2]) {
		t.Fatalf("made: %q", made)
	}
	if shown := klingwatch(t, env, "relays", "callback", "default"); strings.Contains(shown, made[2]) || !strings.Contains(shown, "signatures are not verified") || !works(made[2]) {
		t.Errorf("shown: %s", shown)
	}
	rotated := callbackLine.FindStringSubmatch(klingwatch(t, env, "relays", "callback", "--rotate"))
	if rotated == nil || rotated[2] == made[2] || !works(rotated[2]) || !works(made[2]) {
		t.Errorf("rotated: %q", rotated)
	}
	secret := webhook.NewSecret()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if shown := klingwatch(t, env, "relays", "callback", "--secret-file", file); !strings.Contains(shown, "signatures are verified") || strings.Contains(shown, secret) {
		t.Errorf("with a secret: %s", shown)
	}
	if shown := klingwatch(t, env, "relays", "callback", "--revoke", "--no-secret"); !strings.Contains(shown, "callbacks are off") || works(rotated[2]) || works(made[2]) {
		t.Errorf("revoked: %s", shown)
	}
	launch(t, env, "relays", "callback", "second").answer(t).failsWith(t, exitError, "there is no relay second")
}

// firsts notes when something first happened to a task.
type firsts struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (m *firsts) note(task string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.at[task]; !known {
		m.at[task] = time.Now()
	}
}

func (m *firsts) of(task string) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, known := m.at[task]
	return at, known
}

var taskIDIn = regexp.MustCompile(`"task_id": ?"([^"]+)"`)

// callbackPath runs tasks one after the other from their callback to their webhook, at the
// usual poll interval, and returns how long each took, and how often the relay was asked.
func callbackPath(t *testing.T, pool *pgxpool.Pool, tasks int) (took []time.Duration, polls int) {
	t.Helper()
	secret := webhook.NewSecret()
	ring, err := keyring.Parse("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	if err != nil {
		t.Fatal(err)
	}
	token, err := operate.MakeCallbackToken(t.Context(), pool, db.DefaultRelay)
	if err != nil {
		t.Fatal(err)
	}
	called, told := &firsts{at: map[string]time.Time{}}, &firsts{at: map[string]time.Time{}}
	mux := http.NewServeMux()
	mux.Handle(api.CallbackPattern, api.Callbacks(operate.NewCallbacks(pool, ring, 5*time.Second), &metrics.New().Callbacks, slog.New(slog.DiscardHandler)))
	calling := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), `"succeed"`) {
			return // tasks are so short here that their end would be within the interval after it
		}
		called.note(taskIDIn.FindStringSubmatch(string(body))[1])
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(calling.Close)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told.note(taskIDIn.FindStringSubmatch(string(body))[1])
	}))
	t.Cleanup(receiver.Close)
	simulator := klingsim.New(klingsim.Config{Seed: 1, Lifetime: 200 * time.Millisecond, CallbackURL: calling.URL + operate.CallbackPath(db.DefaultRelay, token), CallbackSecret: secret})
	relay := httptest.NewServer(simulator)
	t.Cleanup(relay.Close)
	client, err := klingapi.New(klingapi.Config{BaseURL: relay.URL, Credential: klingapi.StaticKey("any")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	webhooks := webhook.NewClient(webhook.Config{Timeout: time.Second, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(webhooks.Close)
	if err := operate.SetCallbackSecret(t.Context(), pool, ring, db.DefaultRelay, secret); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	working := worker.New(worker.Config{
		Pool: pool, Relay: client, Webhooks: webhooks, Metrics: metrics.New(), Log: slog.New(slog.DiscardHandler),
		Keyring: ring, PollInterval: 5 * time.Second, PollRate: 50, PollTimeout: 5 * time.Second, TaskDeadline: time.Hour, WebhookTimeout: 5 * time.Second,
	})
	done := make(chan error, 1)
	go func() { done <- working.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	await(t, "the worker works", working.Working)
	for i := range tasks {
		id := fmt.Sprintf("ok-%d", i)
		if _, err := operate.Track(t.Context(), pool, []db.NewTask{{TaskID: id, Action: "videos", Action2: "text2video", CallbackURL: &receiver.URL}}); err != nil {
			t.Fatal(err)
		}
		await(t, "the webhook of "+id, func() bool { _, known := told.of(id); return known })
		from, known := called.of(id)
		to, _ := told.of(id)
		if !known {
			t.Fatalf("%s has ended without a callback", id)
		}
		took = append(took, to.Sub(from))
	}
	return took, simulator.Requests()
}

// TestACallbackIsToldAtOnce measures what is between a callback of Kling and the webhook of
// the task, on a system that does nothing else.
func TestACallbackIsToldAtOnce(t *testing.T) {
	const tasks = 20
	took, polls := callbackPath(t, open(t, dbtest.NewURL(t)), tasks)
	slices.Sort(took)
	t.Logf("from the callback to the webhook: p50 %s, longest %s; %d polls of %d tasks", took[len(took)/2], took[len(took)-1], polls, tasks)
	if took[len(took)/2] > time.Second {
		t.Errorf("it took %s", took)
	}
	if polls > 3*tasks { // the first, and one for the callback
		t.Errorf("%d polls of %d tasks", polls, tasks)
	}
}
