package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

// inbox is a receiver that verifies what arrives with a public library.
type inbox struct {
	*httptest.Server
	mu      sync.Mutex
	secret  string
	answer  int
	ids     []string // webhook-ids of what was signed with the secret
	types   []string
	refused int
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	box := &inbox{answer: http.StatusOK}
	box.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		box.mu.Lock()
		defer box.mu.Unlock()
		verifier, err := standardwebhooks.NewWebhook(box.secret)
		var event struct {
			Type      string         `json:"type"`
			Timestamp time.Time      `json:"timestamp"`
			Data      map[string]any `json:"data"`
		}
		if err != nil || verifier.Verify(body, r.Header) != nil || json.Unmarshal(body, &event) != nil || time.Since(event.Timestamp) > time.Minute {
			box.refused++
			w.WriteHeader(http.StatusForbidden)
			return
		}
		box.ids, box.types = append(box.ids, r.Header.Get("webhook-id")), append(box.types, event.Type)
		w.WriteHeader(box.answer)
		_, _ = io.WriteString(w, "thanks")
	}))
	t.Cleanup(box.Close)
	return box
}

func localClient(t *testing.T) *webhook.Client {
	t.Helper()
	client := webhook.NewClient(webhook.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, UserAgent: "klingwatch/test"})
	t.Cleanup(client.Close)
	return client
}

// A test webhook is signed as a real one: an endpoint's with its own secret, one
// to a URL with the deployment's.
func TestAPingIsSignedAsARealWebhook(t *testing.T) {
	t.Parallel()
	client := localClient(t)
	for name, ring := range map[string]*keyring.Keyring{"in plain": nil, "encrypted": ringOf(t, "a")} {
		pool, box := dbtest.New(t), newInbox(t)
		added, err := operate.AddEndpoint(t.Context(), pool, ring, operate.NewEndpoint{URL: box.URL + "/endpoint"})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := operate.VerificationKeys(t.Context(), pool, ring)
		if err != nil {
			t.Fatal(err)
		}
		for receiver, want := range map[string]struct{ url, secret string }{
			strconv.FormatInt(added.ID, 10): {box.URL + "/endpoint", added.Secret},
			box.URL + "/callback":           {box.URL + "/callback", keys[0].Secret},
		} {
			box.mu.Lock()
			box.secret = want.secret
			box.mu.Unlock()
			result, err := operate.Ping(t.Context(), pool, ring, client, receiver)
			if err != nil || !result.Delivered || result.StatusCode != 200 || result.Error != "" || result.URL != want.url || result.ResponseBody != "thanks" ||
				result.RemoteAddr != box.Listener.Addr().String() || result.TotalSeconds <= 0 || result.TotalSeconds < result.FirstByteSeconds {
				t.Errorf("%s, %s: %+v, %v", name, receiver, result, err)
			}
			if n := len(box.ids); n == 0 || box.ids[n-1] != result.WebhookID || box.types[n-1] != webhook.Test {
				t.Errorf("%s, %s: arrived %q of %q, sent %s", name, receiver, box.ids, box.types, result.WebhookID)
			}
		}
		if box.refused != 0 {
			t.Errorf("%s: %d have a wrong signature", name, box.refused)
		}
	}
}

// What comes back is the result, whatever it is.
func TestAPingThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	pool, box, client := dbtest.New(t), newInbox(t), localClient(t)
	result, err := operate.Ping(t.Context(), pool, nil, client, box.URL) // nobody told it the secret
	if err != nil || result.Delivered || result.StatusCode != http.StatusForbidden || !strings.HasPrefix(result.Error, "http_status") {
		t.Errorf("refused: %+v, %v", result, err)
	}
	result, err = operate.Ping(t.Context(), pool, nil, client, "http://127.0.0.1:1/hook") // a port that no program is given
	if err != nil || result.Delivered || result.StatusCode != 0 || !strings.HasPrefix(result.Error, "connection_refused") {
		t.Errorf("nobody listens: %+v, %v", result, err)
	}
	guarded := webhook.NewClient(webhook.Config{})
	defer guarded.Close()
	result, err = operate.Ping(t.Context(), pool, nil, guarded, box.URL)
	if err != nil || result.Delivered || !strings.HasPrefix(result.Error, "blocked_address") {
		t.Errorf("a private network: %+v, %v", result, err)
	}
	_, err = operate.Ping(t.Context(), pool, nil, client, "nowhere")
	wantRefusal(t, "nowhere", err, operate.Invalid, "", `"nowhere" is neither the number of an endpoint nor a URL: it must begin with http`)
}

// A person who gives up is not told that the receiver failed.
func TestAPingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // then the server notices that the client is gone
		stop()
		<-r.Context().Done()
	}))
	defer receiver.Close()
	result, err := operate.Ping(ctx, dbtest.New(t), nil, localClient(t), receiver.URL)
	if !errors.Is(err, context.Canceled) || result != (operate.PingResult{}) {
		t.Errorf("%+v, %v", result, err)
	}
}
