package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

func (a *API) registerEndpoints() {
	register(a, operation{
		id: "list-endpoints", method: http.MethodGet, path: "/v1/endpoints", tag: "endpoints", scope: db.ScopeRead, allApps: true,
		summary: "List endpoints", description: "An endpoint is a receiver that gets the events of all tasks. A task's own callback_url needs none.",
	}, a.listEndpoints)
	register(a, operation{
		id: "create-endpoint", method: http.MethodPost, path: "/v1/endpoints", tag: "endpoints", scope: db.ScopeAdmin, allApps: true, repeatable: true,
		summary: "Add an endpoint", description: "The answer holds the secret that signs its webhooks; it is not told again.",
		status: http.StatusCreated,
	}, a.createEndpoint)
	register(a, operation{
		id: "get-endpoint", method: http.MethodGet, path: "/v1/endpoints/{id}", tag: "endpoints", scope: db.ScopeRead, allApps: true,
		summary: "Get an endpoint", errors: []int{http.StatusNotFound},
	}, a.getEndpoint)
	register(a, operation{
		id: "edit-endpoint", method: http.MethodPatch, path: "/v1/endpoints/{id}", tag: "endpoints", scope: db.ScopeAdmin, allApps: true,
		summary: "Change an endpoint", description: "What is left out stays. What waits goes to a new URL.", errors: []int{http.StatusNotFound, http.StatusConflict},
	}, a.editEndpoint)
	register(a, operation{
		id: "remove-endpoint", method: http.MethodDelete, path: "/v1/endpoints/{id}", tag: "endpoints", scope: db.ScopeAdmin, allApps: true,
		summary: "Remove an endpoint with its deliveries", description: "409 while webhooks wait for it, unless discard_waiting is set.",
		status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusConflict},
	}, a.removeEndpoint)
	for _, verb := range []struct {
		name, summary, description string
		do                         func(context.Context, int64) error
	}{
		{"enable", "Enable an endpoint", "What waited is sent, the oldest first.", func(ctx context.Context, id int64) error {
			_, err := operate.EnableEndpoint(ctx, a.Pool, id)
			return err
		}},
		{"disable", "Disable an endpoint", "Its webhooks wait until it is enabled.", func(ctx context.Context, id int64) error {
			return operate.DisableEndpoint(ctx, a.Pool, id)
		}},
	} {
		register(a, operation{
			id: verb.name + "-endpoint", method: http.MethodPost, path: "/v1/endpoints/{id}/" + verb.name, tag: "endpoints", scope: db.ScopeWrite, allApps: true, repeatable: true,
			summary: verb.summary, description: verb.description, errors: []int{http.StatusNotFound},
		}, func(ctx context.Context, in *EndpointInput) (*endpointOutput, error) {
			if err := verb.do(ctx, in.ID); err != nil {
				return nil, err
			}
			return a.getEndpoint(ctx, in)
		})
	}
	register(a, operation{
		id: "ping-endpoint", method: http.MethodPost, path: "/v1/endpoints/{id}/ping", tag: "endpoints", scope: db.ScopeWrite, allApps: true,
		summary: "Send a test webhook to an endpoint", description: "It is signed as a real one. The answer tells what came back, and how long each step took.",
		errors: []int{http.StatusNotFound},
	}, a.pingEndpoint)
	register(a, operation{
		id: "rotate-endpoint-secret", method: http.MethodPost, path: "/v1/endpoints/{id}/rotate-secret", tag: "endpoints", scope: db.ScopeAdmin, allApps: true, repeatable: true,
		summary: "Give an endpoint a new secret", description: "The old one signs as well for a while. The answer holds the new one; it is not told again.",
		errors: []int{http.StatusNotFound},
	}, a.rotateSecret)
}

// Endpoint is a row of klingwatch.webhook_endpoints.
type Endpoint struct {
	ID             int64      `json:"id" doc:"Its number."`
	URL            string     `json:"url" doc:"Where events are sent."`
	EventTypes     []string   `json:"event_types" nullable:"false" doc:"What it asked for."`
	Actions        []string   `json:"actions" nullable:"false" doc:"Of which tasks: action or action/action2; empty: of all."`
	Thin           bool       `json:"thin" doc:"Its webhooks hold ids and status only."`
	Description    string     `json:"description" doc:"A note for people."`
	CreatedAt      time.Time  `json:"created_at"`
	FailingSince   *time.Time `json:"failing_since" doc:"null while it works."`
	LastError      *string    `json:"last_error"`
	DisabledAt     *time.Time `json:"disabled_at" doc:"null while it is enabled."`
	DisabledReason *string    `json:"disabled_reason"`
	Waiting        int        `json:"waiting" doc:"Webhooks that have not arrived yet."`
	Secret         *string    `json:"secret,omitempty" doc:"Signs its webhooks; told once."`
}

func endpointOf(e db.Endpoint) Endpoint {
	return Endpoint{e.ID, e.URL, orNone(e.EventTypes), orNone(e.Actions), e.Thin, e.Description, e.CreatedAt, e.FailingSince, e.LastError, e.DisabledAt, e.DisabledReason, e.Waiting, nil}
}

// EndpointInput names an endpoint.
type EndpointInput struct {
	ID int64 `path:"id" minimum:"1" doc:"Its number."`
}

type endpointOutput struct {
	Body Endpoint
}

type allOutput[T any] struct {
	Body Page[T]
}

func (a *API) listEndpoints(ctx context.Context, _ *struct{}) (*allOutput[Endpoint], error) {
	rows, err := db.ListEndpoints(ctx, a.Pool)
	if err != nil {
		return nil, fmt.Errorf("reading the endpoints: %w", err)
	}
	return &allOutput[Endpoint]{Page[Endpoint]{Data: each(rows, endpointOf)}}, nil
}

func (a *API) getEndpoint(ctx context.Context, in *EndpointInput) (*endpointOutput, error) {
	row, err := operate.GetEndpoint(ctx, a.Pool, in.ID)
	if err != nil {
		return nil, err
	}
	return &endpointOutput{endpointOf(row)}, nil
}

type newEndpointInput struct {
	Body struct {
		URL         string   `json:"url" minLength:"1" maxLength:"2048" doc:"An absolute http or https URL." example:"https://app.example/hook"`
		EventTypes  []string `json:"event_types,omitempty" nullable:"false" doc:"What it is told; left out: the ends of tasks; [\"all\"]: everything."`
		Actions     []string `json:"actions,omitempty" nullable:"false" doc:"Of which tasks: action or action/action2; left out: of all."`
		Thin        bool     `json:"thin,omitempty" doc:"Ids and status only."`
		Description string   `json:"description,omitempty" maxLength:"1000" doc:"A note for people."`
	}
}

func (a *API) createEndpoint(ctx context.Context, in *newEndpointInput) (*endpointOutput, error) {
	added, err := operate.AddEndpoint(ctx, a.Pool, a.Keyring, operate.NewEndpoint{
		URL: in.Body.URL, Events: in.Body.EventTypes, Actions: in.Body.Actions, Thin: in.Body.Thin, Description: in.Body.Description,
	})
	if err != nil {
		return nil, err
	}
	out, err := a.getEndpoint(ctx, &EndpointInput{added.ID})
	if err == nil {
		out.Body.Secret = &added.Secret
	}
	return out, err
}

type editEndpointInput struct {
	EndpointInput
	Body struct {
		URL         *string  `json:"url,omitempty" minLength:"1" maxLength:"2048" nullable:"false" doc:"An absolute http or https URL."`
		EventTypes  []string `json:"event_types,omitempty" nullable:"false" doc:"What it is told; [\"all\"]: everything."`
		Actions     []string `json:"actions,omitempty" nullable:"false" doc:"Of which tasks; [\"all\"]: of all."`
		Thin        *bool    `json:"thin,omitempty" nullable:"false" doc:"Ids and status only."`
		Description *string  `json:"description,omitempty" maxLength:"1000" nullable:"false" doc:"A note for people."`
	}
}

func (a *API) editEndpoint(ctx context.Context, in *editEndpointInput) (*endpointOutput, error) {
	err := operate.EditEndpoint(ctx, a.Pool, in.ID, operate.EndpointEdit{
		URL: in.Body.URL, Events: in.Body.EventTypes, Actions: in.Body.Actions, Thin: in.Body.Thin, Description: in.Body.Description,
	})
	if err != nil {
		return nil, err
	}
	return a.getEndpoint(ctx, &in.EndpointInput)
}

type removeEndpointInput struct {
	EndpointInput
	Discard bool `query:"discard_waiting" doc:"Remove it although webhooks wait."`
}

func (a *API) removeEndpoint(ctx context.Context, in *removeEndpointInput) (*struct{}, error) {
	endpoint, err := operate.GetEndpoint(ctx, a.Pool, in.ID)
	if err != nil {
		return nil, err
	}
	if endpoint.Waiting > 0 && !in.Discard {
		return nil, problem(conflict, "Webhooks wait for this endpoint: enable it, or set discard_waiting.")
	}
	_, err = operate.RemoveEndpoint(ctx, a.Pool, in.ID)
	return nil, err
}

// Ping is what a test webhook came to.
type Ping struct {
	WebhookID        string  `json:"webhook_id"`
	Delivered        bool    `json:"delivered" doc:"A 2xx came back."`
	StatusCode       int     `json:"status_code" doc:"0: no answer came."`
	Error            string  `json:"error" doc:"Empty when it was delivered."`
	RemoteAddr       string  `json:"remote_addr"`
	DNSSeconds       float64 `json:"dns_seconds"`
	ConnectSeconds   float64 `json:"connect_seconds"`
	TLSSeconds       float64 `json:"tls_seconds"`
	FirstByteSeconds float64 `json:"first_byte_seconds"`
	TotalSeconds     float64 `json:"total_seconds"`
	ResponseBody     string  `json:"response_body" doc:"The beginning of it."`
}

type pingOutput struct {
	Body Ping
}

func (a *API) pingEndpoint(ctx context.Context, in *EndpointInput) (*pingOutput, error) {
	r, err := operate.Ping(ctx, a.Pool, a.Keyring, a.Webhooks, strconv.FormatInt(in.ID, 10))
	if err != nil {
		return nil, err
	}
	return &pingOutput{Ping{
		r.WebhookID, r.Delivered, r.StatusCode, r.Error, r.RemoteAddr, r.DNSSeconds, r.ConnectSeconds, r.TLSSeconds, r.FirstByteSeconds, r.TotalSeconds, r.ResponseBody,
	}}, nil
}

type rotateInput struct {
	EndpointInput
	Body *struct {
		GraceSeconds *int `json:"grace_seconds,omitempty" minimum:"0" maximum:"2592000" nullable:"false" doc:"How long the old secret signs as well; left out: a day."`
	}
}

func (a *API) rotateSecret(ctx context.Context, in *rotateInput) (*endpointOutput, error) {
	grace := 24 * time.Hour
	if in.Body != nil && in.Body.GraceSeconds != nil {
		grace = time.Duration(*in.Body.GraceSeconds) * time.Second
	}
	keys, err := operate.RotateKeys(ctx, a.Pool, a.Keyring, db.KeyOwner{Endpoint: &in.ID}, grace)
	if err != nil {
		return nil, err
	}
	out, err := a.getEndpoint(ctx, &in.EndpointInput)
	if err == nil {
		out.Body.Secret = &keys.Secret
	}
	return out, err
}
