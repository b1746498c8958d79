package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The states of a delivery.
const (
	DeliveryPending   = "pending"
	DeliveryDelivered = "delivered" // a 2xx came back
	DeliveryExhausted = "exhausted" // gave up
	DeliveryCanceled  = "canceled"  // a person or the receiver stopped it
)

// DeliveryStates are all states of a delivery.
var DeliveryStates = []string{DeliveryPending, DeliveryDelivered, DeliveryExhausted, DeliveryCanceled}

// DeliveryTarget is what must be known to send a webhook now.
type DeliveryTarget struct {
	ID       int64
	State    string
	Attempts int            // requests made so far
	Tries    int            // place in the schedule: how many of its steps are used up
	Wait     *time.Duration // until the next attempt, negative when late; nil: none is planned
	Since    time.Time      // when the schedule began
	Held     time.Duration  // since it is held back because its receiver fails; 0: it is not
	EventAge time.Duration
	Endpoint *int64 // nil: the task's callback_url
	Disabled bool   // its endpoint is
	Revision int    // of its endpoint, grows when that is edited or enabled
	Thin     bool   // its endpoint wants ids and status only
	URL      string
	EventID  string
	Type     string
	Task     *int64 // nil: the event is about a receiver
	Body     string
	Secrets  []string // as stored, newest first, v1 before v1a

	Traceparent string // of the change that the event tells of; "" where it was not traced
}

// DeliveryTargets reads deliveries and, at this very time, the keys that sign
// them. Those that do not exist are left out.
func DeliveryTargets(ctx context.Context, q Querier, ids []int64) ([]DeliveryTarget, error) {
	return all[DeliveryTarget](ctx, q, `
		with`+signingKeys+`
		select d.id,
		       d.state,
		       d.attempts,
		       d.attempts - d.tries_before as tries,
		       d.next_attempt_at - clock_timestamp() as wait,
		       d.tries_since as since,
		       coalesce(clock_timestamp() - d.held_since, '0') as held,
		       clock_timestamp() - e.created_at as event_age,
		       d.endpoint,
		       w.disabled_at is not null as disabled,
		       coalesce(w.revision, 0) as revision,
		       coalesce(w.thin, false) as thin,
		       d.url,
		       e.event_id,
		       e.type,
		       e.task,
		       e.payload::text as body,
		       coalesce(e.traceparent, '') as traceparent,
		       coalesce(own.secrets, '{}') || coalesce(deployment.secrets, '{}') as secrets
		from klingwatch.deliveries d
		join klingwatch.events e on e.id = d.event
		left join klingwatch.webhook_endpoints w on w.id = d.endpoint
		left join keys own on own.owner = coalesce(d.endpoint, 0) and own.version = 'v1'
		left join keys deployment on deployment.owner = 0 and deployment.version = 'v1a'
		where d.id = any (@ids)`,
		pgx.StrictNamedArgs{"ids": ids})
}

// DeliveryOutcome is what became of a delivery: by a request, or without one
// (held back, parked, given up).
type DeliveryOutcome struct {
	Delivery         int64     `json:"delivery"`
	Seen             int       `json:"seen"`    // attempts at the time of the decision
	Since            time.Time `json:"since"`   // when the schedule began that it belongs to
	State            string    `json:"state"`   // of the delivery now
	Wait             *float64  `json:"wait"`    // seconds until the next attempt; nil: none is planned
	Error            *string   `json:"error"`   // why it failed, or why nothing was sent; nil when delivered
	Held             bool      `json:"held"`    // not sent because its receiver fails
	Skipped          bool      `json:"skipped"` // not sent, but a step of the schedule is used up
	Sent             bool      `json:"sent"`    // what follows is about a request
	StartedAgo       float64   `json:"started_ago"`
	FinishedAgo      float64   `json:"finished_ago"` // both in seconds
	StatusCode       *int      `json:"status_code"`  // nil when no answer came
	ResponseBody     *string   `json:"response_body"`
	RemoteAddr       *string   `json:"remote_addr"`
	DNSSeconds       *float64  `json:"dns_seconds"`
	ConnectSeconds   *float64  `json:"connect_seconds"`
	TLSSeconds       *float64  `json:"tls_seconds"`
	FirstByteSeconds *float64  `json:"first_byte_seconds"`
}

// RecordDeliveries writes outcomes: a row for each request, and the new state of
// its delivery. A state that somebody else has changed meanwhile is left alone
// (sent again, canceled), but for one that was given up and did arrive.
func RecordDeliveries(ctx context.Context, q Querier, outcomes []DeliveryOutcome) error {
	input, err := json.Marshal(outcomes)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		with outcome as (
			select o.*,
			       d.state in ('pending', 'exhausted') and o.state = 'delivered'
			           or d.state = 'pending' and d.attempts = o.seen and d.tries_since = o.since as applies
			from jsonb_to_recordset(@outcomes::jsonb) as o(
			     delivery bigint, seen int, since timestamptz, state text, wait float8, error text, held bool, skipped bool, sent bool, started_ago float8, finished_ago float8,
			     status_code int, response_body text, remote_addr text,
			     dns_seconds real, connect_seconds real, tls_seconds real, first_byte_seconds real)
			join klingwatch.deliveries d on d.id = o.delivery
			order by d.id
			for update of d
		), done as (
			update klingwatch.deliveries d
			set attempts = d.attempts + o.sent::int,
			    state = case when o.applies then o.state else d.state end,
			    next_attempt_at = case when o.applies then now() + make_interval(secs => o.wait) else d.next_attempt_at end,
			    delivered_at = case when o.applies and o.state = 'delivered' then now() - make_interval(secs => o.finished_ago) else d.delivered_at end,
			    last_error = case when o.applies then o.error else d.last_error end,
			    held_since = case when not o.applies then d.held_since when o.held then coalesce(d.held_since, now()) end,
			    tries_before = case when o.applies then d.tries_before - o.skipped::int else d.tries_before end
			from outcome o
			where d.id = o.delivery
			returning d.id, d.attempts
		)
		insert into klingwatch.delivery_attempts (delivery, attempt, started_at, finished_at, status_code, error, response_body,
		                                          remote_addr, dns_seconds, connect_seconds, tls_seconds, first_byte_seconds)
		select d.id,
		       d.attempts,
		       now() - make_interval(secs => o.started_ago),
		       now() - make_interval(secs => o.finished_ago),
		       o.status_code,
		       o.error,
		       o.response_body,
		       o.remote_addr,
		       o.dns_seconds,
		       o.connect_seconds,
		       o.tls_seconds,
		       o.first_byte_seconds
		from done d
		join outcome o on o.delivery = d.id
		where o.sent`,
		pgx.StrictNamedArgs{"outcomes": input})
	return err
}

// CancelDelivery stops a pending delivery; false when it is not pending.
func CancelDelivery(ctx context.Context, q Querier, id int64) (canceled bool, err error) {
	tag, err := q.Exec(ctx, `
		update klingwatch.deliveries
		set state = 'canceled',
		    next_attempt_at = null,
		    last_error = 'canceled by a person'
		where id = @id and state = 'pending'`,
		pgx.StrictNamedArgs{"id": id})
	return tag.RowsAffected() > 0, err
}

// PendingDeliveries counts the webhooks that have not arrived yet.
func PendingDeliveries(ctx context.Context, q Querier) (n int, err error) {
	err = q.QueryRow(ctx, `select count(*) from klingwatch.deliveries where state = 'pending'`).Scan(&n)
	return n, err
}

// existing turns "no row was changed" into ErrNotFound.
func existing(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.RowsAffected() == 0 {
		return ErrNotFound
	}
	return err
}
