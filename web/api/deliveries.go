package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

func (a *API) registerDeliveries() {
	register(a, operation{
		id: "list-deliveries", method: http.MethodGet, path: "/v1/deliveries", tag: "deliveries", scope: db.ScopeRead, allApps: true,
		summary: "List webhooks, newest first", description: "A delivery is an event for a receiver; an attempt is one request of it.",
	}, a.listDeliveries)
	register(a, operation{
		id: "get-delivery", method: http.MethodGet, path: "/v1/deliveries/{id}", tag: "deliveries", scope: db.ScopeRead, allApps: true,
		summary: "Get a webhook with its attempts", errors: []int{http.StatusNotFound},
	}, a.getDelivery)
	register(a, operation{
		id: "redeliver", method: http.MethodPost, path: "/v1/deliveries/{id}/redeliver", tag: "deliveries", scope: db.ScopeWrite, allApps: true, repeatable: true,
		summary: "Send a webhook again", description: "Under the same webhook-id. One of a disabled endpoint waits until that is enabled.",
		errors: []int{http.StatusNotFound},
	}, a.redeliver)
}

// Delivery is a row of klingwatch.deliveries, with its event.
type Delivery struct {
	ID            int64      `json:"id" doc:"Number of the delivery."`
	EventID       string     `json:"event_id" doc:"The webhook-id."`
	Type          string     `json:"type" doc:"Of the event, like task.succeeded."`
	Task          *int64     `json:"task" doc:"tasks.id; null: the event is about an endpoint."`
	Endpoint      *int64     `json:"endpoint" doc:"Its receiver; null: the callback_url of the task."`
	URL           string     `json:"url" doc:"Where it goes."`
	State         string     `json:"state" enum:"pending,delivered,exhausted,canceled" doc:"delivered: a 2xx came back; exhausted: given up."`
	Attempts      int        `json:"attempts" doc:"Requests so far."`
	LastError     *string    `json:"last_error" doc:"null: delivered, or not tried yet."`
	NextAttemptAt *time.Time `json:"next_attempt_at" doc:"null: none is planned."`
	DeliveredAt   *time.Time `json:"delivered_at" doc:"When the 2xx came back."`
	CreatedAt     time.Time  `json:"created_at" doc:"When the event was written."`
	AttemptLog    *[]Attempt `json:"attempt_log,omitempty" doc:"Of a single delivery: its requests."`
}

func deliveryOf(d db.Delivery) Delivery {
	return Delivery{d.ID, d.EventID, d.Type, d.Task, d.Endpoint, d.URL, d.State, d.Attempts, d.LastError, d.NextAttemptAt, d.DeliveredAt, d.CreatedAt, nil}
}

// Attempt is one request of a delivery.
type Attempt struct {
	Attempt          int       `json:"attempt" doc:"From 1."`
	StartedAt        time.Time `json:"started_at"`
	FinishedAt       time.Time `json:"finished_at"`
	StatusCode       *int      `json:"status_code" doc:"null: no answer came."`
	Error            *string   `json:"error" doc:"null for a 2xx."`
	ResponseBody     *string   `json:"response_body" doc:"The beginning of it."`
	RemoteAddr       *string   `json:"remote_addr" doc:"null: there was no connection."`
	DNSSeconds       *float64  `json:"dns_seconds" doc:"null on a connection that was open already, as the next two."`
	ConnectSeconds   *float64  `json:"connect_seconds"`
	TLSSeconds       *float64  `json:"tls_seconds"`
	FirstByteSeconds *float64  `json:"first_byte_seconds" doc:"From the request to the first byte of the answer."`
}

func attemptOf(a db.Attempt) Attempt {
	return Attempt{a.Attempt, a.StartedAt, a.FinishedAt, a.StatusCode, a.Error, a.ResponseBody, a.RemoteAddr, a.DNSSeconds, a.ConnectSeconds, a.TLSSeconds, a.FirstByteSeconds}
}

// DeliveryFilter are the parameters that choose deliveries.
type DeliveryFilter struct {
	State         []string  `query:"state" enum:"pending,delivered,exhausted,canceled" doc:"One of these states."`
	Endpoint      int64     `query:"endpoint" minimum:"1" doc:"To this endpoint."`
	Task          int64     `query:"task" minimum:"1" doc:"About this task, by our id."`
	Error         string    `query:"error" maxLength:"200" doc:"Part of the last error, in capitals or not."`
	Action        string    `query:"action" maxLength:"64" doc:"About tasks of this action."`
	Relay         string    `query:"relay" maxLength:"64" doc:"About tasks at this relay."`
	App           string    `query:"app" maxLength:"63" doc:"About tasks of this app."`
	ExternalID    string    `query:"external_id" maxLength:"255" doc:"About tasks with this reference of the caller's."`
	CreatedAfter  time.Time `query:"created_after" doc:"Written then or later."`
	CreatedBefore time.Time `query:"created_before" doc:"Written before."`
}

func (f DeliveryFilter) choice() db.DeliveryChoice {
	c := db.DeliveryChoice{
		States: f.State, Since: f.CreatedAfter, Until: f.CreatedBefore, Error: f.Error, Task: f.Task,
		Tasks: db.TaskChoice{Path: f.Action, Relay: f.Relay, App: f.App, ExternalID: f.ExternalID},
	}
	if f.Endpoint > 0 {
		c.Endpoint = &f.Endpoint
	}
	return c
}

type listDeliveriesInput struct {
	PageInput
	DeliveryFilter
}

func (a *API) listDeliveries(ctx context.Context, in *listDeliveriesInput) (*listOutput[Delivery], error) {
	search, err := in.search(in.DeliveryFilter)
	if err != nil {
		return nil, err
	}
	page, err := db.ListDeliveries(ctx, a.Pool, in.choice(), search)
	if err != nil {
		return nil, fmt.Errorf("reading the deliveries: %w", err)
	}
	return listOf(in.PageInput, in.DeliveryFilter, page, deliveryOf), nil
}

type deliveryInput struct {
	ID int64 `path:"id" minimum:"1" doc:"Number of the delivery."`
}

type deliveryOutput struct {
	Body Delivery
}

func (a *API) getDelivery(ctx context.Context, in *deliveryInput) (*deliveryOutput, error) {
	row, err := operate.GetDelivery(ctx, a.Pool, in.ID)
	if err != nil {
		return nil, err
	}
	attempts, err := db.AttemptsOf(ctx, a.Pool, []int64{in.ID})
	if err != nil {
		return nil, fmt.Errorf("reading the attempts of delivery %d: %w", in.ID, err)
	}
	delivery, list := deliveryOf(row), each(attempts, attemptOf)
	delivery.AttemptLog = &list
	return &deliveryOutput{delivery}, nil
}

func (a *API) redeliver(ctx context.Context, in *deliveryInput) (*deliveryOutput, error) {
	if _, err := operate.Redeliver(ctx, a.Pool, in.ID); err != nil {
		return nil, err
	}
	return a.getDelivery(ctx, in)
}
