package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/lookback"
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

// Delivery is a row of klingwatch.deliveries, with its event.
type Delivery struct {
	ID            int64      `json:"id"`
	EventID       string     `json:"event_id"`
	Type          string     `json:"type"`
	Task          *int64     `json:"task"`     // nil: the event is about a receiver
	Endpoint      *int64     `json:"endpoint"` // nil: the task's callback_url
	URL           string     `json:"url"`
	State         string     `json:"state"`
	Attempts      int        `json:"attempts"`
	LastError     *string    `json:"last_error"`      // nil: delivered, or not tried yet
	NextAttemptAt *time.Time `json:"next_attempt_at"` // nil: none is planned
	DeliveredAt   *time.Time `json:"delivered_at"`    // nil: it has not arrived
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

// ListDeliveries returns a page of the deliveries of a choice.
func ListDeliveries(ctx context.Context, b Beginner, c DeliveryChoice, s lookback.Search) (Page[Delivery], error) {
	list := lookback.List[Delivery]{
		ID: func(d Delivery) int64 { return d.ID },
		Newest: func(ctx context.Context) (id int64, err error) {
			err = b.QueryRow(ctx, `select coalesce(max(id), 0) from klingwatch.deliveries`).Scan(&id)
			return id, err
		},
		Read: func(ctx context.Context, r lookback.Range, limit int, patience time.Duration) ([]Delivery, error) {
			return limited[Delivery](ctx, b, patience, "", `
				with page as materialized (
					select d.id
					from klingwatch.deliveries d
					where d.id >= @low and d.id < @high and`+chosenDeliveries+`
					order by d.id desc
					limit @limit
				)
				select`+deliveryColumns+`
				where d.id = any (array(select id from page))
				order by d.id desc`,
				c.with(pgx.StrictNamedArgs{"low": r.From, "high": r.Before, "limit": limit}))
		},
	}
	if c.indexed() {
		list.ReadIndexed = list.Read
	}
	p, err := list.Page(ctx, s)
	if err != nil {
		return Page[Delivery]{}, err
	}
	return pageOf(ctx, b, p, `select created_at from klingwatch.deliveries where id >= @id order by id limit 1`)
}

// GetDelivery returns a delivery; ErrNotFound for an unknown id.
func GetDelivery(ctx context.Context, q Querier, id int64) (Delivery, error) {
	return one[Delivery](ctx, q, `
		select`+deliveryColumns+`
		where d.id = @id`,
		pgx.StrictNamedArgs{"id": id})
}

// DeliveriesOf returns deliveries by their ids, in their order; those that are not there are
// left out.
func DeliveriesOf(ctx context.Context, q Querier, ids []int64) ([]Delivery, error) {
	return all[Delivery](ctx, q, `
		select`+deliveryColumns+`
		where d.id = any (@ids)
		order by d.id`,
		pgx.StrictNamedArgs{"ids": ids})
}

// DeliveriesOfTask returns the deliveries of a task's events in their order.
func DeliveriesOfTask(ctx context.Context, q Querier, task int64) ([]Delivery, error) {
	return all[Delivery](ctx, q, `
		select`+deliveryColumns+`
		where e.task = @task
		order by d.id`,
		pgx.StrictNamedArgs{"task": task})
}

// DeliveryTarget is what must be known to send a webhook now.
type DeliveryTarget struct {
	ID       int64
	State    string
	Attempts int            // requests made so far
	Tries    int            // place in the schedule: how many of its steps are used up
	Wait     *time.Duration // until the next attempt, negative when late; nil: none is planned
	Created  time.Time
	Since    time.Time     // when the schedule began
	Held     time.Duration // how long it has been held back because its receiver fails; 0: it is not
	Read     time.Time     // when it was read, by the database's clock, which the times above go by
	EventAge time.Duration
	Endpoint *int64 // nil: the task's callback_url
	Disabled bool   // its endpoint is disabled
	Revision int    // of its endpoint, grows when that is edited or enabled; 0: it has no endpoint
	Thin     bool   // its endpoint wants ids and status only
	URL      string
	EventID  string
	Type     string
	Task     *int64   // nil: the event is about a receiver
	Body     string   // the event's payload
	Secrets  []string // as stored, v1 before v1a, the newest of each first

	Traceparent string // of what caused the event; "": it is not traced
}

// DeliveryTargets reads deliveries with the keys that sign them now, in no
// particular order. Ids that do not exist are left out.
func DeliveryTargets(ctx context.Context, q Querier, ids []int64) ([]DeliveryTarget, error) {
	return all[DeliveryTarget](ctx, q, `
		with`+signingKeys+`
		select d.id,
		       d.state,
		       d.attempts,
		       d.attempts - d.tries_before as tries,
		       d.next_attempt_at - clock_timestamp() as wait,
		       d.created_at as created,
		       d.tries_since as since,
		       coalesce(clock_timestamp() - d.held_since, '0') as held,
		       clock_timestamp() as read,
		       clock_timestamp() - e.created_at as event_age,
		       d.endpoint,
		       w.disabled_at is not null as disabled,
		       coalesce(w.revision, 0) as revision,
		       coalesce(w.thin, false) as thin,
		       coalesce(w.url, d.url) as url, -- the endpoint may have moved while the event was being written
		       e.event_id,
		       e.type,
		       e.task,
		       e.payload::text as body,
		       coalesce(e.traceparent, '') as traceparent,
		       coalesce(own.secrets, '{}') || coalesce(deployment.secrets, '{}') as secrets
		from klingwatch.deliveries d
		join klingwatch.events e on e.id = d.event
		left join klingwatch.webhook_endpoints w on w.id = d.endpoint
		left join klingwatch.tasks t on t.id = e.task and d.endpoint is null
		left join keys own on own.owner = coalesce(d.endpoint, 0) and own.version = 'v1'
		     and own.app = coalesce((select of_app.app from keys of_app where of_app.app = t.app and of_app.app <> ''), '')
		left join keys deployment on deployment.owner = 0 and deployment.version = 'v1a'
		where d.id = any (@ids)`,
		pgx.StrictNamedArgs{"ids": ids})
}

// DeliveryOutcome is what became of a delivery, with a request or without one: held
// back, waiting for its endpoint to be enabled, given up.
type DeliveryOutcome struct {
	Delivery         int64     `json:"delivery"`
	Created          time.Time `json:"created"`      // of the row that the decision was made on
	Seen             int       `json:"seen"`         // attempts at the time of the decision
	Since            time.Time `json:"since"`        // when the schedule began that the decision was made on
	State            string    `json:"state"`        // the new one
	Wait             *float64  `json:"wait"`         // seconds until the next attempt; nil: none is planned
	Error            *string   `json:"error"`        // why it failed, or why nothing was sent; nil when delivered
	Held             bool      `json:"held"`         // not sent because its receiver fails
	Skipped          bool      `json:"skipped"`      // not sent, but it uses up a step of the schedule
	Sent             bool      `json:"sent"`         // a request was made: the fields below are about it
	StartedAgo       float64   `json:"started_ago"`  // seconds
	FinishedAgo      float64   `json:"finished_ago"` // seconds
	StatusCode       *int      `json:"status_code"`  // nil when no answer came
	ResponseBody     *string   `json:"response_body"`
	RemoteAddr       *string   `json:"remote_addr"`
	DNSSeconds       *float64  `json:"dns_seconds"`
	ConnectSeconds   *float64  `json:"connect_seconds"`
	TLSSeconds       *float64  `json:"tls_seconds"`
	FirstByteSeconds *float64  `json:"first_byte_seconds"`
}

var outcomeFields = newColumns[DeliveryOutcome](`delivery bigint, created timestamptz, seen int, since timestamptz, state text, wait float8, error text, held bool, skipped bool,
	sent bool, started_ago float8, finished_ago float8, status_code int, response_body text, remote_addr text,
	dns_seconds real, connect_seconds real, tls_seconds real, first_byte_seconds real`)

// RecordDeliveries writes outcomes, one of a delivery at most: an attempt for each request, and the new state
// of its delivery. A delivery that somebody has sent again or canceled since it was
// read keeps its state, unless it has arrived before it was sent again.
func RecordDeliveries(ctx context.Context, q Querier, outcomes []DeliveryOutcome) error {
	_, err := q.Exec(ctx, `
		with outcome as (
			select o.*,
			       d.state in ('pending', 'exhausted') and o.state = 'delivered'
			           or d.state = 'pending' and d.attempts = o.seen and d.tries_since = o.since as applies
			from `+outcomeFields.as("o")+`
			join klingwatch.deliveries d on d.id = o.delivery and d.created_at = o.created
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
			    tries_before = case when o.applies then d.tries_before - o.skipped::int
			                        -- a request that began before somebody sent it again uses up no step of the new schedule
			                        when d.tries_since <> o.since then d.tries_before + o.sent::int
			                        else d.tries_before end
			from outcome o
			where d.id = o.delivery
			returning d.id, d.attempts, o.*
		)
		insert into klingwatch.delivery_attempts (delivery, attempt, started_at, finished_at, status_code, error, response_body,
		                                          remote_addr, dns_seconds, connect_seconds, tls_seconds, first_byte_seconds)
		select id,
		       attempts,
		       now() - make_interval(secs => started_ago),
		       now() - make_interval(secs => finished_ago),
		       status_code,
		       error,
		       response_body,
		       remote_addr,
		       dns_seconds,
		       connect_seconds,
		       tls_seconds,
		       first_byte_seconds
		from done
		where sent`,
		outcomeFields.arrays(outcomes))
	return err
}

// redeliver is the part of an update that begins the schedule of a delivery anew. One
// of a disabled endpoint waits until that is enabled.
const redeliver = `
			state = 'pending',
			tries_before = attempts,
			held_since = null,
			tries_since = now(),
			delivered_at = null,
			last_error = null,
			url = coalesce((select w.url from klingwatch.webhook_endpoints w where w.id = d.endpoint), d.url),
			next_attempt_at = case when exists (select from klingwatch.webhook_endpoints w where w.id = d.endpoint and w.disabled_at is not null)
			                  then null else now() end`

// Redeliver makes a delivery due now, with a job, whatever its state is and however
// many attempts it has used up; one of a disabled endpoint waits without a job. It
// returns ErrNotFound for an unknown id.
func Redeliver(ctx context.Context, q Querier, id int64) (DeliveryState, error) {
	return one[DeliveryState](ctx, q, `
		with again as (
			update klingwatch.deliveries d
			set`+redeliver+`
			where id = @id
			returning id, url, endpoint, next_attempt_at
		)
		select a.url,
		       a.endpoint,
		       a.next_attempt_at is null as waits,
		       klingwatch.give_jobs('deliver', case when a.next_attempt_at is not null then array[a.id] end) as jobs
		from again a`,
		pgx.StrictNamedArgs{"id": id})
}

// DeliveryState is what Redeliver made of a delivery.
type DeliveryState struct {
	URL      string
	Endpoint *int64 // nil: the task's callback_url
	Waits    bool   // its endpoint is disabled
	Jobs     int64  // 1: it was given a job; 0: it had one, or waits
}

// CancelDelivery stops a pending delivery. It returns false for one that is not
// pending or not there.
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

// PendingDeliveries counts the deliveries that have not ended: those of tasks, or nil: all.
func PendingDeliveries(ctx context.Context, q Querier, tasks []int64) (n int, err error) {
	err = q.QueryRow(ctx, `
		select count(*)
		from klingwatch.events e
		join klingwatch.deliveries d on d.event = e.id
		where d.state = 'pending' and (@tasks::bigint[] is null or e.task = any (@tasks))`,
		pgx.StrictNamedArgs{"tasks": tasks}).Scan(&n)
	return n, err
}

// PruneDeliveries deletes deliveries that began and ended longer ago than older, at
// most limit of them, with their attempts. It returns how many; fewer than limit
// means that none are left. One that somebody has locked stays.
func PruneDeliveries(ctx context.Context, q Querier, older time.Duration, limit int) (pruned int, err error) {
	tag, err := q.Exec(ctx, `
		delete from klingwatch.deliveries
		where id in (select id
		             from klingwatch.deliveries
		             where state <> 'pending' and created_at < now() - @older::interval
		               and greatest(tries_since, delivered_at) < now() - @older::interval
		             limit @limit
		             for update skip locked)`,
		pgx.StrictNamedArgs{"older": older, "limit": limit})
	return int(tag.RowsAffected()), err
}

// Attempt is a row of klingwatch.delivery_attempts: one request of a delivery. Its
// seconds are nil for a step that the request did not take or reach.
type Attempt struct {
	Delivery         int64     `json:"-"`
	Attempt          int       `json:"attempt"` // from 1
	StartedAt        time.Time `json:"started_at"`
	FinishedAt       time.Time `json:"finished_at"`
	StatusCode       *int      `json:"status_code"`   // nil: no answer came
	Error            *string   `json:"error"`         // nil for a 2xx
	ResponseBody     *string   `json:"response_body"` // the beginning of it
	RemoteAddr       *string   `json:"remote_addr"`   // nil: there was no connection
	DNSSeconds       *float64  `json:"dns_seconds"`   // nil on a connection that was open already
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
