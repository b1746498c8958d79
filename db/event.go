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

	Traceparent *string `json:"traceparent,omitempty"` // of the change, W3C Trace Context; nil without tracing
}

// AddEvents writes events and one delivery for each receiver that wants them:
// the callback_url of a task that is terminal, endpoints by their event types
// and actions.
// A disabled endpoint's delivery waits until it is enabled. Jobs come by
// trigger.
func AddEvents(ctx context.Context, q Querier, events []NewEvent) error {
	if len(events) == 0 {
		return nil
	}
	input, err := json.Marshal(events)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		with news as (
			insert into klingwatch.events (event_id, task, sequence, type, payload, traceparent)
			select event_id, task, sequence, type, payload, traceparent
			from jsonb_to_recordset(@events::jsonb) as n(event_id text, task bigint, sequence int, type text, payload jsonb, traceparent text)
			order by task, sequence
			returning id, task, type
		)
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
		where w.actions = '{}' or w.actions && array[t.action, t.action || '/' || t.action2]`,
		pgx.StrictNamedArgs{"events": input})
	return err
}

// AddEndpointEvent writes an event about a receiver, with a delivery for each
// other receiver that asked for such.
func AddEndpointEvent(ctx context.Context, q Querier, endpoint int64, eventID, eventType string, payload json.RawMessage) error {
	_, err := q.Exec(ctx, `
		with news as (
			insert into klingwatch.events (event_id, type, payload)
			values (@event_id, @type, @payload)
			returning id, type
		)
		insert into klingwatch.deliveries (event, endpoint, url, next_attempt_at)
		select n.id, w.id, w.url, case when w.disabled_at is null then now() end
		from news n
		join klingwatch.webhook_endpoints w on n.type = any (w.event_types) and w.id <> @endpoint`,
		pgx.StrictNamedArgs{"event_id": eventID, "type": eventType, "payload": payload, "endpoint": endpoint})
	return err
}

// Event is a row of klingwatch.events.
type Event struct {
	ID        int64           `json:"id"`
	EventID   string          `json:"event_id"`
	Sequence  int             `json:"sequence"`
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
