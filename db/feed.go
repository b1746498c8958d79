package db

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

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
	App   string // the events of an app's tasks, and of tasks from before there were apps
}

// Chooses reports whether it chooses an event; the query of ReadFeed says the same.
func (f FeedFilter) Chooses(e FeedEvent) bool {
	return (len(f.Types) == 0 || slices.Contains(f.Types, e.Type)) &&
		(f.Task == 0 || f.Task == e.Task) &&
		(f.App == "" || e.Task != 0 && (e.App == f.App || e.App == ""))
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
			where e.id > @after and (@task = 0 or e.task = @task)
			order by e.id
			limit @scan
		), looked as materialized (
			select count(*) as scanned, coalesce(max(id), @after) as until from scanned
		), state as (
			select greatest(case when @tasks then tasks_until else 0 end, case when @endpoints then endpoints_until else 0 end) as deleted,
			       (select last_value from klingwatch.events_id_seq) as last,
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
			where e.id > @after and e.id <= l.until and (@task = 0 or e.task = @task)
			  and (@types::text[] = '{}' or e.type = any (@types))
			  and (@app = '' or t.app in (@app, ''))
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
// nothing more: any session can send them.
func ListenForEvents(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `listen "klingwatch.events"`)
	return err
}
