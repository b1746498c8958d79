package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The states of a delivery.
const (
	DeliveryPending   = "pending"
	DeliveryDelivered = "delivered" // a 2xx came back
	DeliveryExhausted = "exhausted" // gave up
	DeliveryCanceled  = "canceled"  // a person stopped it
)

// Attempt is a request about to be sent.
type Attempt struct {
	Delivery int64
	Attempt  int    // from 1
	Endpoint *int64 // nil: the task's callback_url
	URL      string
	EventID  string
	Type     string
	Task     int64
	Body     string
	Secrets  []string // newest first
}

// BeginAttempt counts an attempt and writes its row before the request is
// sent. lease is when the delivery is due again should the process die in
// between. It returns ErrNotFound when nothing is to be sent now; DueIn tells
// why.
func BeginAttempt(ctx context.Context, q Querier, delivery int64, lease time.Duration) (Attempt, error) {
	return one[Attempt](ctx, q, `
		with begun as (
			update klingwatch.deliveries d
			set attempts = attempts + 1,
			    next_attempt_at = now() + @lease::interval
			where id = @delivery
			  and state = 'pending'
			  and next_attempt_at <= now()
			  and not exists (select from klingwatch.webhook_endpoints w where w.id = d.endpoint and w.disabled_at is not null)
			returning id, event, endpoint, url, attempts
		), attempt as (
			insert into klingwatch.delivery_attempts (delivery, attempt)
			select id, attempts from begun
		)
		select b.id as delivery,
		       b.attempts as attempt,
		       b.endpoint,
		       b.url,
		       e.event_id,
		       e.type,
		       e.task,
		       e.payload::text as body,
		       array(select k.secret
		             from klingwatch.signing_keys k
		             where k.endpoint is not distinct from b.endpoint and (k.expires_at is null or k.expires_at > now())
		             order by k.expires_at is not null, k.created_at desc) as secrets
		from begun b
		join klingwatch.events e on e.id = b.event`,
		pgx.StrictNamedArgs{"delivery": delivery, "lease": lease})
}

// Due tells when a delivery is to be tried again.
type Due struct {
	State    string
	Wait     *time.Duration // until the next attempt, may be negative; nil: none is planned
	Disabled bool           // its endpoint is disabled
}

// DueIn reads when a delivery is due; ErrNotFound when it was deleted.
func DueIn(ctx context.Context, q Querier, delivery int64) (Due, error) {
	return one[Due](ctx, q, `
		select d.state,
		       d.next_attempt_at - clock_timestamp() as wait,
		       w.disabled_at is not null as disabled
		from klingwatch.deliveries d
		left join klingwatch.webhook_endpoints w on w.id = d.endpoint
		where d.id = @delivery`,
		pgx.StrictNamedArgs{"delivery": delivery})
}

// ParkDelivery takes a pending delivery off the schedule until its endpoint is enabled.
func ParkDelivery(ctx context.Context, q Querier, delivery int64) error {
	_, err := q.Exec(ctx, `
		update klingwatch.deliveries d
		set next_attempt_at = null
		where id = @delivery and state = 'pending'
		  and exists (select from klingwatch.webhook_endpoints w where w.id = d.endpoint and w.disabled_at is not null)`,
		pgx.StrictNamedArgs{"delivery": delivery})
	return err
}

// FinishedAttempt is what a request came to.
type FinishedAttempt struct {
	Delivery     int64
	Attempt      int
	StatusCode   *int           // nil when no answer came
	Error        *string        // nil for a 2xx
	ResponseBody *string        // excerpt
	State        string         // of the delivery now
	Wait         *time.Duration // until the next attempt; nil: none
}

// FinishAttempt writes the outcome of an attempt and the delivery's new state
// together. Both are left alone where somebody else finished the delivery.
func FinishAttempt(ctx context.Context, q Querier, f FinishedAttempt) error {
	_, err := q.Exec(ctx, `
		with attempt as (
			update klingwatch.delivery_attempts
			set finished_at = clock_timestamp(),
			    status_code = @status_code,
			    error = @error,
			    response_body = @response_body
			where delivery = @delivery and attempt = @attempt
		)
		update klingwatch.deliveries
		set state = @state,
		    next_attempt_at = now() + @wait::interval,
		    delivered_at = case when @state = 'delivered' then clock_timestamp() end
		where id = @delivery and state = 'pending' and (attempts = @attempt or @state = 'delivered')`,
		pgx.StrictNamedArgs{
			"delivery": f.Delivery, "attempt": f.Attempt, "status_code": f.StatusCode, "error": f.Error,
			"response_body": f.ResponseBody, "state": f.State, "wait": f.Wait,
		})
	return err
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
