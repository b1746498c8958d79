package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

// The receiver's paths: one for callbacks, one for the endpoint.
const (
	callbackPath = "/callback"
	endpointPath = "/endpoint"
)

// maxWebhook is the largest body that the receiver reads.
const maxWebhook = 1 << 20

// Receiver is what a consumer of webhooks would write: it verifies signatures
// with a public library and keeps what arrived. The zero value refuses everything
// until it has subscribed.
type Receiver struct {
	mu       sync.Mutex
	url      string
	verify   map[string]*standardwebhooks.Webhook // by path
	arrived  map[string][]webhook.Event           // by path and webhook-id
	verified int
	refused  int
	latest   []string // lines about what arrived, the newest last
}

// description is how the receiver is known among the endpoints of a database.
const description = "demo receiver"

// Subscribe makes the receiver, which serves at a base URL, an endpoint for all events,
// the one that an earlier run on the database left if there is one. It takes the secrets:
// the deployment's for callbacks, the endpoint's own for the rest. The stored secrets must
// not be encrypted.
func (r *Receiver) Subscribe(ctx context.Context, pool *pgxpool.Pool, url string) error {
	endpoint, err := subscription(ctx, pool, url+endpointPath)
	if err != nil {
		return err
	}
	keys, err := operate.VerificationKeys(ctx, pool, nil)
	if err != nil {
		return err
	}
	verify := map[string]*standardwebhooks.Webhook{}
	for _, key := range keys {
		if key.Version != db.KeyV1 {
			continue // the library verifies v1 and ignores the others, as the specification asks
		}
		path := callbackPath
		switch {
		case key.Endpoint == nil:
		case *key.Endpoint == endpoint:
			path = endpointPath
		default:
			continue // another receiver's
		}
		if verify[path], err = standardwebhooks.NewWebhook(key.Secret); err != nil {
			return fmt.Errorf("preparing the demo receiver: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.url, r.verify, r.arrived = url, verify, map[string][]webhook.Event{}
	return nil
}

// subscription returns the id of the receiver's endpoint.
func subscription(ctx context.Context, pool *pgxpool.Pool, url string) (id int64, err error) {
	endpoints, err := db.ListEndpoints(ctx, pool)
	if err != nil {
		return 0, fmt.Errorf("looking for the endpoint of the demo receiver: %w", err)
	}
	for _, e := range endpoints {
		if e.Description != description {
			continue
		}
		if e.URL != url {
			err = operate.EditEndpoint(ctx, pool, e.ID, operate.EndpointEdit{URL: &url})
		}
		return e.ID, err
	}
	added, err := operate.AddEndpoint(ctx, pool, nil, operate.NewEndpoint{URL: url, Events: []string{"all"}, Description: description})
	return added.ID, err
}

// ServeHTTP accepts a webhook whose signature is right, and tells people what arrived.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodGet {
		r.tell(w, req)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxWebhook))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	verifier := r.verify[req.URL.Path]
	var event webhook.Event
	if verifier == nil || verifier.Verify(body, req.Header) != nil || json.Unmarshal(body, &event) != nil {
		r.refused++
		r.note("refused: no webhook with a right signature")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	r.verified++
	r.note(fmt.Sprintf("verified: %s of %q", event.Type, event.Data.TaskID))
	key := req.URL.Path + req.Header.Get("webhook-id")
	r.arrived[key] = append(r.arrived[key], event)
	w.WriteHeader(http.StatusNoContent)
}

// latestLines bounds what is told of what arrived.
const latestLines = 20

// note keeps a line about a request; the mutex is held.
func (r *Receiver) note(line string) {
	r.latest = append(r.latest, time.Now().UTC().Format(time.TimeOnly)+" "+line)
	r.latest = r.latest[max(len(r.latest)-latestLines, 0):]
}

// tell answers a person.
func (r *Receiver) tell(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if req.URL.Path != "/" {
		w.WriteHeader(http.StatusNotFound)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(w, "The demo receiver of klingwatch: webhooks come by POST to %s (of a task's callback_url) and %s (of all tasks).\n"+
		"%d had a right signature, %d did not. The latest:\n", callbackPath, endpointPath, r.verified, r.refused)
	for _, line := range slices.Backward(r.latest) {
		_, _ = fmt.Fprintln(w, line)
	}
}

// check returns what is wrong with a sample's webhooks: each must have arrived
// once, and the callback must say what was expected; "": nothing is.
func (r *Receiver) check(sample Sample, deliveries []db.Delivery) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	callbacks := 0
	for _, d := range deliveries {
		path := endpointPath
		if d.Endpoint == nil {
			path = callbackPath
			callbacks++
		}
		events := r.arrived[path+d.EventID]
		switch {
		case len(events) != 1:
			return fmt.Sprintf("%s arrived %d times", d.Type, len(events))
		case events[0].Data.ID != sample.ID || events[0].Type != d.Type:
			return d.Type + " is about something else"
		case d.Endpoint == nil && events[0].Data.Status != sample.Expect:
			return "the callback says " + events[0].Data.Status
		}
	}
	if callbacks != 1 {
		return fmt.Sprintf("%d callbacks", callbacks)
	}
	return ""
}

// Verified counts the webhooks that arrived with a right signature.
func (r *Receiver) Verified() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.verified
}

// Refused counts the requests that were no webhook with a right signature.
func (r *Receiver) Refused() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}
