package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// NewEvent is an event about to be written.
type NewEvent struct {
	EventID  string          `json:"event_id"` // the webhook-id
	Task     int64           `json:"task"`
	Sequence int             `json:"sequence"`
	Type     string          `json:"type"`
	Payload  json.RawMessage `json:"payload"`

	Traceparent *string `json:"traceparent,omitempty"` // of what caused it, W3C Trace Context; nil: it is not traced
}

// TaskChannel is where apps learn that a task has ended: a note
// "<relay>/<action>/<action2>/<task_id> <status>" comes with the transaction that ends it.
const TaskChannel = "klingwatch_task"

// AddEvents writes events of tasks, a note on TaskChannel for each task that has ended,
// and a delivery with its job for each receiver that wants one: the callback_url of a task
// that has ended, and endpoints by their event types and actions. The delivery of a disabled endpoint has no job and waits
// until that is enabled. An event whose EventID is taken is not written; AddEvents
// returns the tasks of such events.
func AddEvents(ctx context.Context, q Querier, events []NewEvent) (taken []int64, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	input, err := json.Marshal(events)
	if err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, `
		with wanted as (
			select *
			from jsonb_to_recordset(@events::jsonb) as n(event_id text, task bigint, sequence int, type text, payload jsonb, traceparent text)
		), news as (
			insert into klingwatch.events (event_id, task, sequence, type, payload, traceparent)
			select event_id, task, sequence, type, payload, traceparent
			from wanted w
			-- "on conflict" writes 46 bytes more of WAL for each event, "not exists" may read the whole table
			where (select e.id from klingwatch.events e where e.event_id = w.event_id) is null
			order by task, sequence
			returning id, task, type
		), sent as (
			insert into klingwatch.deliveries (event, endpoint, url, next_attempt_at)
			select n.id, null, t.callback_url, now()
			from news n
			join klingwatch.tasks t on t.id = n.task
			where t.finished_at is not null and t.callback_url is not null
			union all
			select n.id, w.id, w.url, case when w.disabled_at is null then now() end
			from news n
			join klingwatch.webhook_endpoints w on n.type = any (w.event_types)
			join klingwatch.tasks t on t.id = n.task
			where w.actions = '{}' or w.actions && array[t.action, t.action || '/' || t.action2]
		), told as materialized (
			select pg_notify(@channel, concat_ws('/', t.relay, t.action, nullif(t.action2, ''), t.task_id) || ' ' || t.status)
			from news n
			join klingwatch.tasks t on t.id = n.task
			where t.finished_at is not null
		)
		select w.task from wanted w, (select count(*) from told) t
		except
		select task from news`,
		pgx.StrictNamedArgs{"events": input, "channel": TaskChannel})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// AddEndpointEvent writes an event about a receiver, with a delivery for each of the
// other receivers that asked for that type. It writes nothing and returns false where
// eventID is taken.
func AddEndpointEvent(ctx context.Context, q Querier, endpoint int64, eventID, eventType string, payload json.RawMessage) (added bool, err error) {
	err = q.QueryRow(ctx, `
		with news as (
			insert into klingwatch.events (event_id, type, payload)
			values (@event_id, @type, @payload)
			on conflict (event_id) do nothing
			returning id, type
		), sent as (
			insert into klingwatch.deliveries (event, endpoint, url, next_attempt_at)
			select n.id, w.id, w.url, case when w.disabled_at is null then now() end
			from news n
			join klingwatch.webhook_endpoints w on n.type = any (w.event_types) and w.id <> @endpoint
		)
		select exists (select from news)`,
		pgx.StrictNamedArgs{"event_id": eventID, "type": eventType, "payload": payload, "endpoint": endpoint}).Scan(&added)
	return added, err
}

// LockEventOrder waits for the turn to write events, which lasts until the end of the
// transaction, and returns what their ids are derived with: it is the last lock that a
// transaction may take. Where somebody keeps the turn for seconds, the error is an Outage
// that names the session. It returns ErrNotFound where somebody has deleted the secret.
func LockEventOrder(ctx context.Context, q Querier) (secret []byte, err error) {
	got, err := one[struct{ Secret []byte }](ctx, q, `
		with turn as materialized (select klingwatch.lock_event_order())
		select secret from klingwatch.event_secret, turn`)
	return got.Secret, err
}

// Event is an event of a task, a row of klingwatch.events.
type Event struct {
	ID        int64           `json:"id"`
	EventID   string          `json:"event_id"` // the webhook-id
	Sequence  int             `json:"sequence"` // within the task, from 1
	Type      string          `json:"type"`
	Payload   json.RawMessage `json:"payload"`
	CreatedAt time.Time       `json:"created_at"`
}

// EventsOfTask returns a task's events in their order.
func EventsOfTask(ctx context.Context, q Querier, task int64) ([]Event, error) {
	return all[Event](ctx, q, `
		select id,
		       event_id,
		       sequence,
		       type,
		       payload,
		       created_at
		from klingwatch.events
		where task = @task
		order by sequence`,
		pgx.StrictNamedArgs{"task": task})
}

// EventPayload returns the body of a delivery's event, and whether its receiver gets
// the thin form of it. It returns ErrNotFound for an unknown id.
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

// PruneEndpointEvents deletes events about receivers that are older than a time, at
// most limit of them, with their deliveries. It returns how many; fewer than limit
// means that none are left. An event that somebody has locked, or with a webhook
// under way, stays. The events of a task are deleted with the task.
func PruneEndpointEvents(ctx context.Context, q Querier, older time.Duration, limit int) (pruned int, err error) {
	err = q.QueryRow(ctx, `
		with gone as (
			delete from klingwatch.events
			where id in (select e.id
			             from klingwatch.events e
			             where e.task is null and e.created_at < now() - @older::interval
			               and not exists (select from klingwatch.deliveries d where d.event = e.id and d.state = 'pending' and d.next_attempt_at is not null)
			             limit @limit
			             for update skip locked)
			returning id
		), noted as (
			update klingwatch.feed
			set endpoints_until = greatest(endpoints_until, (select max(id) from gone))
			where exists (select from gone)
		)
		select count(*) from gone`,
		pgx.StrictNamedArgs{"older": older, "limit": limit}).Scan(&pruned)
	return pruned, err
}

// Happening is something that people watch: a change of a task, or a webhook request.
type Happening struct {
	Key        string // tells it from all others
	At         time.Time
	EventType  string // task.succeeded and so on
	Path       string // of the task; "": the event is about an endpoint
	TaskID     string // the provider's
	Message    string // why the task ended so, or why the request failed; "": there is nothing to say
	URL        string // of a webhook request; "": it is a change
	StatusCode int    // of the receiver's answer; 0: none came
}

// Happenings returns what happened after a moment of the database's clock, oldest first.
// It reads whole tables: it is for databases of one developer.
func Happenings(ctx context.Context, q Querier, after time.Time) ([]Happening, error) {
	return all[Happening](ctx, q, `
		with happened as (
			select e.id,
			       e.created_at,
			       e.type,
			       coalesce(concat_ws('/', t.action, nullif(t.action2, '')), '') as path,
			       coalesce(t.task_id, '') as task_id,
			       coalesce(e.payload->'data'->>'status_message', '') as message
			from klingwatch.events e
			left join klingwatch.tasks t on t.id = e.task
		)
		select 'event ' || id as key, created_at as at, type as event_type, path, task_id, message, '' as url, 0 as status_code
		from happened
		where created_at > @after
		union all
		select 'request ' || a.delivery || '/' || a.attempt, a.finished_at, h.type, h.path, h.task_id, coalesce(a.error, ''), d.url, coalesce(a.status_code, 0)
		from klingwatch.delivery_attempts a
		join klingwatch.deliveries d on d.id = a.delivery
		join happened h on h.id = d.event
		where a.finished_at > @after
		order by at, key`,
		pgx.StrictNamedArgs{"after": after})
}
