package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/webhook"
)

const (
	// The relay's tasks end soon, and a few answers in a hundred are errors.
	taskLifetime = 2 * second
	faultRate    = 0.03
	relayLatency = second / 20
)

// listenLocally serves a handler until close is called.
func listenLocally(handler http.Handler) (url string, closeServer func(), err error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listening on 127.0.0.1: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() { _ = server.Close() }, nil
}

func newRelay(seed uint64) *klingsim.Relay {
	return klingsim.New(klingsim.Config{Seed: seed, APIKey: relayKey, Lifetime: taskLifetime, FaultRate: faultRate, Latency: relayLatency})
}

// The places that webhooks go to.
const (
	callbackPath = "/callback"
	endpointPath = "/endpoint"
	maxWebhook   = 1 << 20
)

// mood is how the receivers answer.
type mood int

const (
	well     mood = iota
	failing       // 500
	slow          // later than klingwatch waits
	abrupt        // the connection is closed
	allMoods      // how many
)

// lateBy is longer than KLINGWATCH_WEBHOOK_TIMEOUT.
const lateBy = 7 * second

// receivers note which webhooks arrive. In a bad mood they refuse each webhook once
// and then take it: what is refused twice klingwatch sends again after five
// minutes, which is longer than the run waits.
type receivers struct {
	mu       sync.Mutex
	verify   map[string]*standardwebhooks.Webhook // by path
	mood     mood
	refused  map[string]bool              // by path and webhook-id
	ids      map[eventKey]map[string]bool // webhook-ids, refused ones included
	accepted map[string]map[eventKey]int  // by path
	unsigned int
}

// eventKey is what an event is for its receiver.
type eventKey struct{ taskID, eventType string }

func newReceivers() *receivers {
	return &receivers{
		verify: map[string]*standardwebhooks.Webhook{}, refused: map[string]bool{}, ids: map[eventKey]map[string]bool{},
		accepted: map[string]map[eventKey]int{callbackPath: {}, endpointPath: {}},
	}
}

// trust makes the receiver at a path verify signatures with a secret.
func (r *receivers) trust(path, secret string) error {
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return fmt.Errorf("preparing the receivers: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verify[path] = verifier
	return nil
}

func (r *receivers) setMood(m mood) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mood = m
}

// ServeHTTP takes a webhook, or refuses it.
func (r *receivers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxWebhook))
	if err != nil {
		return // the sender has gone
	}
	switch r.note(req.URL.Path, req.Header, body) {
	case well:
		w.WriteHeader(http.StatusNoContent)
	case failing:
		w.WriteHeader(http.StatusInternalServerError)
	case slow:
		_ = bench.Pause(req.Context(), lateBy)
	case abrupt:
		panic(http.ErrAbortHandler)
	}
}

// note takes a request in, and returns how it is to be answered.
func (r *receivers) note(path string, header http.Header, body []byte) mood {
	r.mu.Lock()
	defer r.mu.Unlock()
	var event webhook.Event
	verifier, id := r.verify[path], header.Get("webhook-id")
	if verifier == nil || verifier.Verify(body, header) != nil || json.Unmarshal(body, &event) != nil {
		r.unsigned++
		return failing
	}
	key := eventKey{event.Data.TaskID, event.Type}
	if r.ids[key] == nil {
		r.ids[key] = map[string]bool{}
	}
	r.ids[key][id] = true
	if r.mood != well && !r.refused[path+id] {
		r.refused[path+id] = true
		return r.mood
	}
	r.accepted[path][key]++
	return well
}

// arrivals is what the receivers have seen.
type arrivals struct {
	ids      map[eventKey]int            // how many webhook-ids
	accepted map[string]map[eventKey]int // by path
	unsigned int
}

func (r *receivers) arrived() arrivals {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := arrivals{ids: map[eventKey]int{}, accepted: map[string]map[eventKey]int{}, unsigned: r.unsigned}
	for key, ids := range r.ids {
		a.ids[key] = len(ids)
	}
	for path, events := range r.accepted {
		a.accepted[path] = map[eventKey]int{}
		for key, n := range events {
			a.accepted[path][key] = n
		}
	}
	return a
}
