package db

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
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

var eventFields = newColumns[NewEvent]("event_id text, task bigint, sequence int, type text, payload jsonb, traceparent text")

// AddEvents writes events of tasks, a note on TaskChannel for each task that has ended,
// and a delivery with its job for each receiver that wants one: the callback_url of a task
// for its end and what it asked for beside, and endpoints by their event types and actions. The delivery of a disabled endpoint has no job and waits
// until that is enabled.
//
// Ids follow commits: all that write events wait for their turn, which lasts until the end
// of the transaction, so it is the last lock that a transaction may take. Where somebody
// keeps the turn for seconds, the error is an Outage that names the session.
func AddEvents(ctx context.Context, q Querier, events []NewEvent) (AddedEvents, error) {
	if len(events) == 0 {
		return AddedEvents{}, nil
	}
	args := eventFields.arrays(events)
	args["channel"] = TaskChannel
	return one[AddedEvents](ctx, q, `
		with turn as materialized (`+takeTurn+`
		), wanted as (
			select n.*
			from turn, `+eventFields.as("n")+`
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
			where t.callback_url is not null and (n.type = any (t.callback_events) or t.finished_at is not null and n.type = 'task.' || t.status)
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
			where t.finished_at is not null and n.type = 'task.' || t.status
		)
		select (select waited from turn) as waited,
		       array(select task from wanted except select task from news) as taken
		from (select count(*) from told) as notes`,
		args)
}

// AddedEvents is what became of new events.
type AddedEvents struct {
	Waited float64 // seconds, for the turn to write events
	Taken  []int64 // tasks of events that were not written, because their EventID is taken
}

// takeTurn is the first step of a statement that writes events.
const takeTurn = `
			select klingwatch.lock_event_order(), extract(epoch from clock_timestamp() - statement_timestamp())::float8 as waited`

// AddEndpointEvent writes an event about a receiver, with a delivery for each of the
// other receivers that asked for that type, in its turn, see AddEvents. It writes nothing
// where eventID is taken.
func AddEndpointEvent(ctx context.Context, q Querier, endpoint int64, eventID, eventType string, payload json.RawMessage) (AddedEndpointEvent, error) {
	return one[AddedEndpointEvent](ctx, q, `
		with turn as materialized (`+takeTurn+`
		), news as (
			insert into klingwatch.events (event_id, type, payload)
			select @event_id, @type, @payload::jsonb
			from turn
			on conflict (event_id) do nothing
			returning id, type
		), sent as (
			insert into klingwatch.deliveries (event, endpoint, url, next_attempt_at)
			select n.id, w.id, w.url, case when w.disabled_at is null then now() end
			from news n
			join klingwatch.webhook_endpoints w on n.type = any (w.event_types) and w.id <> @endpoint
		)
		select exists (select from news) as added, (select waited from turn) as waited`,
		pgx.StrictNamedArgs{"event_id": eventID, "type": eventType, "payload": payload, "endpoint": endpoint})
}

// AddedEndpointEvent is what became of a new event about a receiver.
type AddedEndpointEvent struct {
	Waited float64 // seconds, for the turn to write events
	Added  bool    // false: its EventID is taken
}

// EventSecret returns what the ids of events are derived with. It returns ErrNotFound
// where somebody has deleted it.
func EventSecret(ctx context.Context, q Querier) ([]byte, error) {
	got, err := one[struct{ Secret []byte }](ctx, q, `select secret from klingwatch.event_secret`)
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

// FeedEvent is an event as the feed tells it, with what it is chosen by. Those about
// endpoints have no task.
type FeedEvent struct {
	ID      int64
	EventID string // the webhook-id
	Type    string
	Payload json.RawMessage
	Task    int64 // 0: it is about an endpoint
	App     string
	Relay   string
	Action  string
	Action2 string
	Age     float64 // seconds from the transaction that wrote it until now
}

// FeedFilter chooses events; what is empty chooses all.
type FeedFilter struct {
	Types []string
	Task  int64
	App   string // the events of an app's tasks
}

// Chooses reports whether it chooses an event; the query of ReadFeed says the same.
func (f FeedFilter) Chooses(e FeedEvent) bool {
	return (len(f.Types) == 0 || slices.Contains(f.Types, e.Type)) &&
		(f.Task == 0 || f.Task == e.Task) &&
		(f.App == "" || e.App == f.App)
}

// endpoints and tasks report whether it may choose events about endpoints, and of tasks.
func (f FeedFilter) endpoints() bool {
	return f.Task == 0 && f.App == "" && (len(f.Types) == 0 || slices.ContainsFunc(f.Types, aboutEndpoint))
}

func (f FeedFilter) tasks() bool {
	return len(f.Types) == 0 || slices.ContainsFunc(f.Types, func(t string) bool { return !aboutEndpoint(t) })
}

func aboutEndpoint(eventType string) bool { return strings.HasPrefix(eventType, "endpoint.") }

// FeedPage is a part of the feed in the order of ids.
type FeedPage struct {
	Events []FeedEvent
	Read   int64 // all that is chosen up to this id is in the page
	More   bool  // there may be more after it

	Deleted  int64 // the highest id of an event that may have been chosen and was deleted because it was old
	Last     int64 // no event has a higher id
	ReadOnly bool  // the server does not accept writes
}

// feedScan is how many events one read looks at, however few it chooses.
const feedScan = 10_000

// ReadFeed returns the events after an id that a filter chooses, at most limit of them.
func ReadFeed(ctx context.Context, q Querier, after int64, f FeedFilter, limit int) (page FeedPage, err error) {
	rows, err := all[struct {
		FeedEvent
		Scanned  int
		Until    int64
		Deleted  int64
		Last     int64
		ReadOnly bool
	}](ctx, q, `
		with scanned as materialized (
			select e.id
			from klingwatch.events e
			where e.id > @after and (@task::bigint = 0 or e.task = @task)
			order by e.id
			limit @scan
		), looked as materialized (
			select count(*) as scanned, coalesce(max(id), @after) as until from scanned
		), state as (
			select greatest(case when @tasks then tasks_until else 0 end, case when @endpoints then endpoints_until else 0 end) as deleted,
			       greatest((select last_value from klingwatch.events_id_seq), (select max(id) from klingwatch.events), tasks_until, endpoints_until) as last,
			       current_setting('transaction_read_only') = 'on' as read_only
			from klingwatch.feed
		)
		select coalesce(c.id, 0) as id,
		       coalesce(c.event_id, '') as event_id,
		       coalesce(c.type, '') as type,
		       coalesce(c.payload, '{}') as payload,
		       coalesce(c.task, 0) as task,
		       coalesce(c.app, '') as app,
		       coalesce(c.relay, '') as relay,
		       coalesce(c.action, '') as action,
		       coalesce(c.action2, '') as action2,
		       coalesce(extract(epoch from clock_timestamp() - c.created_at), 0)::float8 as age,
		       l.scanned,
		       l.until,
		       s.deleted,
		       s.last,
		       s.read_only
		from state s
		cross join looked l
		left join lateral (
			select e.id, e.event_id, e.type, e.payload, e.task, e.created_at, t.app, t.relay, t.action, t.action2
			from klingwatch.events e
			left join klingwatch.tasks t on t.id = e.task
			where e.id > @after and e.id <= l.until and (@task::bigint = 0 or e.task = @task)
			  and (@types::text[] = '{}' or e.type = any (@types))
			  and (@app = '' or t.app = @app)
			order by e.id
			limit @limit
		) c on true
		order by c.id`,
		pgx.StrictNamedArgs{
			"after": after, "task": f.Task, "types": orEmpty(f.Types), "app": f.App, "tasks": f.tasks(), "endpoints": f.endpoints(), "scan": feedScan, "limit": limit,
		})
	if err != nil {
		return page, err
	}
	if len(rows) == 0 { // somebody has emptied klingwatch.feed
		return page, ErrNotFound
	}
	first := rows[0]
	page = FeedPage{Read: first.Until, More: first.Scanned == feedScan, Deleted: first.Deleted, Last: first.Last, ReadOnly: first.ReadOnly}
	for _, row := range rows {
		if row.ID > 0 {
			page.Events = append(page.Events, row.FeedEvent)
		}
	}
	if len(page.Events) == limit {
		page.Read, page.More = page.Events[limit-1].ID, true
	}
	return page, nil
}

// FeedEnd returns the id after which all events are to come.
func FeedEnd(ctx context.Context, q Querier) (id int64, err error) {
	got, err := one[struct{ ID int64 }](ctx, q, `
		select greatest((select max(id) from klingwatch.events), tasks_until, endpoints_until) as id from klingwatch.feed`)
	return got.ID, err
}

// ListenForEvents subscribes a connection to the notes that events have come. They say
// nothing more: any session can send them. The connection reads what is new in the feed
// many times a second, always in the same way: to plan that takes twice as long as to do it.
func ListenForEvents(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `listen "klingwatch.events"; set plan_cache_mode = force_generic_plan`)
	return err
}
