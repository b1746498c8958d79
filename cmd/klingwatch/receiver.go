package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// The demo receiver's paths: one for callbacks, one for the endpoint.
const (
	callbackPath = "/callback"
	endpointPath = "/endpoint"
)

// maxWebhook is the largest body that the demo receiver reads.
const maxWebhook = 1 << 20

// receiver is what a consumer of webhooks would write: it verifies signatures
// with a public library and keeps what arrived.
type receiver struct {
	mu       sync.Mutex
	verify   map[string]*standardwebhooks.Webhook // by path
	arrived  map[string][]webhook.Event           // by path and webhook-id
	verified int
	refused  int
}

// trust takes the secrets: the deployment's for callbacks, the endpoint's own.
func (r *receiver) trust(keys []db.SigningKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verify, r.arrived = map[string]*standardwebhooks.Webhook{}, map[string][]webhook.Event{}
	for _, key := range keys {
		if key.Version != db.KeyV1 {
			continue // the library verifies v1 and ignores the others, as the specification asks
		}
		path := callbackPath
		if key.Endpoint != nil {
			path = endpointPath
		}
		verifier, err := standardwebhooks.NewWebhook(key.Secret)
		if err != nil {
			return fmt.Errorf("preparing the demo receiver: %w", err)
		}
		r.verify[path] = verifier
	}
	return nil
}

// ServeHTTP accepts a webhook whose signature is right.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
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
		w.WriteHeader(http.StatusForbidden)
		return
	}
	r.verified++
	key := req.URL.Path + req.Header.Get("webhook-id")
	r.arrived[key] = append(r.arrived[key], event)
	w.WriteHeader(http.StatusNoContent)
}

// check tells what is wrong with a task's webhooks: each must have arrived
// once, and the terminal one must say what was expected. "" is nothing.
func (r *receiver) check(deliveries []db.Delivery, task int64, expect string) string {
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
		case events[0].Data.ID != task || events[0].Type != d.Type:
			return d.Type + " tells of something else"
		case d.Endpoint == nil && events[0].Data.Status != expect:
			return "the callback says " + events[0].Data.Status
		}
	}
	if callbacks != 1 {
		return fmt.Sprintf("%d callbacks", callbacks)
	}
	return ""
}

func (r *receiver) verifiedCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.verified
}

func (r *receiver) refusedCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}
