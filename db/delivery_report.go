package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// Delivery is a row of klingwatch.deliveries with its event.
type Delivery struct {
	ID            int64      `json:"id"`
	EventID       string     `json:"event_id"`
	Type          string     `json:"type"`
	Task          *int64     `json:"task"`     // nil: the event is about a receiver
	Endpoint      *int64     `json:"endpoint"` // nil: the task's callback_url
	URL           string     `json:"url"`
	State         string     `json:"state"`
	Attempts      int        `json:"attempts"`
	LastError     *string    `json:"last_error"`
	NextAttemptAt *time.Time `json:"next_attempt_at"`
	DeliveredAt   *time.Time `json:"delivered_at"`
	CreatedAt     time.Time  `json:"created_at"`
}

const deliveryColumns = `
		       d.id,
		       e.event_id,
		       e.type,
		       e.task,
		       d.endpoint,
		       d.url,
		       d.state,
		       d.attempts,
		       d.last_error,
		       d.next_attempt_at,
		       d.delivered_at,
		       d.created_at
		from klingwatch.deliveries d
		join klingwatch.events e on e.id = d.event`

// DeliveryFilter chooses deliveries for ListDeliveries; zero fields choose all.
type DeliveryFilter struct {
	State    string
	Endpoint *int64
	Since    time.Time // created then or later
	Limit    int
}

// ListDeliveries returns the newest deliveries first.
func ListDeliveries(ctx context.Context, q Querier, f DeliveryFilter) ([]Delivery, error) {
	return all[Delivery](ctx, q, `
		select`+deliveryColumns+`
		where (@state = '' or d.state = @state)
		  and (@endpoint::bigint is null or d.endpoint = @endpoint)
		  and d.created_at >= @since
		order by d.id desc
		limit @limit`,
		pgx.StrictNamedArgs{"state": f.State, "endpoint": f.Endpoint, "since": f.Since, "limit": f.Limit})
}

// GetDelivery returns a delivery; ErrNotFound for an unknown id.
func GetDelivery(ctx context.Context, q Querier, id int64) (Delivery, error) {
	return one[Delivery](ctx, q, `
		select`+deliveryColumns+`
		where d.id = @id`,
		pgx.StrictNamedArgs{"id": id})
}

// DeliveriesOfTask returns the deliveries of a task's events in their order.
func DeliveriesOfTask(ctx context.Context, q Querier, task int64) ([]Delivery, error) {
	return all[Delivery](ctx, q, `
		select`+deliveryColumns+`
		where e.task = @task
		order by d.id`,
		pgx.StrictNamedArgs{"task": task})
}

// Attempt is a row of klingwatch.delivery_attempts.
type Attempt struct {
	Delivery         int64     `json:"-"`
	Attempt          int       `json:"attempt"`
	StartedAt        time.Time `json:"started_at"`
	FinishedAt       time.Time `json:"finished_at"`
	StatusCode       *int      `json:"status_code"` // nil: no answer came
	Error            *string   `json:"error"`       // nil for a 2xx
	ResponseBody     *string   `json:"response_body"`
	RemoteAddr       *string   `json:"remote_addr"`
	DNSSeconds       *float64  `json:"dns_seconds"` // nil on a connection that was open already
	ConnectSeconds   *float64  `json:"connect_seconds"`
	TLSSeconds       *float64  `json:"tls_seconds"`
	FirstByteSeconds *float64  `json:"first_byte_seconds"`
}

// AttemptsOf returns the attempts of deliveries, in the order of both.
func AttemptsOf(ctx context.Context, q Querier, deliveries []int64) ([]Attempt, error) {
	return all[Attempt](ctx, q, `
		select delivery,
		       attempt,
		       started_at,
		       finished_at,
		       status_code,
		       error,
		       response_body,
		       remote_addr,
		       dns_seconds,
		       connect_seconds,
		       tls_seconds,
		       first_byte_seconds
		from klingwatch.delivery_attempts
		where delivery = any (@deliveries)
		order by delivery, attempt`,
		pgx.StrictNamedArgs{"deliveries": deliveries})
}

// EventPayload returns the body of a delivery's event; ErrNotFound for an
// unknown id.
func EventPayload(ctx context.Context, q Querier, delivery int64) (payload json.RawMessage, thin bool, err error) {
	got, err := one[struct {
		Payload json.RawMessage
		Thin    bool
	}](ctx, q, `
		select e.payload,
		       coalesce(w.thin, false) as thin
		from klingwatch.deliveries d
		join klingwatch.events e on e.id = d.event
		left join klingwatch.webhook_endpoints w on w.id = d.endpoint
		where d.id = @delivery`,
		pgx.StrictNamedArgs{"delivery": delivery})
	return got.Payload, got.Thin, err
}
