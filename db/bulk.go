package db

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
)

// TaskChoice chooses tasks. Zero fields choose all.
type TaskChoice struct {
	Statuses   []string          `json:"statuses,omitempty"`
	Path       string            `json:"path,omitempty"` // action, or action/action2
	Relay      string            `json:"relay,omitempty"`
	App        string            `json:"app,omitempty"`
	ExternalID string            `json:"external_id,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"` // keys of the object itself, with their values as text
	Error      string            `json:"error,omitempty"`    // part of the reason, the code or the last error, in capitals or not
	Overdue    bool              `json:"overdue,omitempty"`  // open, and not asked about or not ended a minute after it should have been
	Since      time.Time         `json:"-"`                  // created then or later
	Until      time.Time         `json:"-"`                  // created before
}

// chosenTasks is the condition of a TaskChoice on the tasks t.
const chosenTasks = `
		      (cardinality(@statuses::text[]) = 0 or t.status = any (@statuses))
		  and (@path = '' or t.action = @path or t.action || '/' || t.action2 = @path)
		  and (@relay = '' or t.relay = @relay)
		  and (@app = '' or t.app = @app)
		  and (@external_id = '' or t.external_id = @external_id)
		  and (@metadata::jsonb = '{}' or not exists (select from jsonb_each_text(@metadata) wanted where t.metadata->>wanted.key is distinct from wanted.value))
		  and (@error = '' or position(lower(@error) in lower(concat_ws(' ', t.status_message, t.error_code, t.last_error))) > 0)
		  and (not @overdue or t.finished_at is null
		                       and case when t.status = 'pending' and t.polls = 0 then t.created_at else t.deadline_at end < now() - interval '1 min')
		  and t.created_at >= @since
		  and (@until::timestamptz is null or t.created_at < @until)`

// with returns the parameters of chosenTasks and more.
func (c TaskChoice) with(more pgx.StrictNamedArgs) pgx.StrictNamedArgs {
	args := pgx.StrictNamedArgs{
		"statuses": orEmpty(c.Statuses), "path": c.Path, "relay": c.Relay, "app": c.App, "external_id": c.ExternalID, "metadata": "{}", "error": c.Error,
		"overdue": c.Overdue, "since": c.Since, "until": optionalTime(c.Until),
	}
	if len(c.Metadata) > 0 {
		args["metadata"] = c.Metadata
	}
	maps.Copy(args, more)
	return args
}

// DeliveryChoice chooses deliveries. Zero fields choose all.
type DeliveryChoice struct {
	States   []string   `json:"-"`
	Endpoint *int64     `json:"-"`               // nil: all, callbacks included
	Since    time.Time  `json:"-"`               // created then or later
	Until    time.Time  `json:"-"`               // created before
	Error    string     `json:"error,omitempty"` // part of the last error, in capitals or not
	Tasks    TaskChoice `json:"tasks,omitzero"`  // of these tasks; its times are not used
}

// chosenDeliveries is the condition of a DeliveryChoice on the deliveries d.
const chosenDeliveries = `
		      (cardinality(@states::text[]) = 0 or d.state = any (@states))
		  and (@endpoint::bigint is null or d.endpoint = @endpoint)
		  and d.created_at >= @from
		  and (@before::timestamptz is null or d.created_at < @before)
		  and (@last_error = '' or position(lower(@last_error) in lower(d.last_error)) > 0)
		  and (not @by_task or exists (select
		                               from klingwatch.events ev
		                               join klingwatch.tasks t on t.id = ev.task
		                               where ev.id = d.event and` + chosenTasks + `))`

// with returns the parameters of chosenDeliveries and more.
func (c DeliveryChoice) with(more pgx.StrictNamedArgs) pgx.StrictNamedArgs {
	c.Tasks.Since, c.Tasks.Until = time.Time{}, time.Time{}
	args := c.Tasks.with(pgx.StrictNamedArgs{
		"states": orEmpty(c.States), "endpoint": c.Endpoint, "from": c.Since, "before": optionalTime(c.Until), "last_error": c.Error,
		"by_task": !c.Tasks.ChoosesAll(),
	})
	maps.Copy(args, more)
	return args
}

// ChoosesAll reports whether no field chooses.
func (c TaskChoice) ChoosesAll() bool {
	return len(c.Statuses) == 0 && c.Path == "" && c.Relay == "" && c.App == "" && c.ExternalID == "" && len(c.Metadata) == 0 && c.Error == "" && !c.Overdue &&
		c.Since.IsZero() && c.Until.IsZero()
}

// ChoosesAll reports whether no field chooses, or only States.
func (c DeliveryChoice) ChoosesAll() bool {
	return c.Endpoint == nil && c.Since.IsZero() && c.Until.IsZero() && c.Error == "" && c.Tasks.ChoosesAll()
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// CountTasks counts the tasks of a choice.
func CountTasks(ctx context.Context, q Querier, c TaskChoice) (n int64, err error) {
	err = q.QueryRow(ctx, `select count(*) from klingwatch.tasks t where`+chosenTasks, c.with(nil)).Scan(&n)
	return n, err
}

// CountDeliveries counts the deliveries of a choice.
func CountDeliveries(ctx context.Context, q Querier, c DeliveryChoice) (n int64, err error) {
	err = q.QueryRow(ctx, `select count(*) from klingwatch.deliveries d where`+chosenDeliveries, c.with(nil)).Scan(&n)
	return n, err
}

// What is done to many: bulk_actions.action.
const (
	BulkRedeliver = "redeliver" // deliveries become due again
	BulkRetry     = "retry"     // tasks that have ended are asked about again
	BulkCancel    = "cancel"    // open tasks are not tracked any more
)

// Bulk is a row of klingwatch.bulk_actions: a job does something to many tasks or
// deliveries, some per second.
type Bulk struct {
	ID         int64           `json:"id"`
	Action     string          `json:"action"`
	State      string          `json:"state"`    // BulkUnderWay, BulkStopped or BulkFinished
	Endpoint   *int64          `json:"endpoint"` // of deliveries; nil: all, callbacks included
	Since      *time.Time      `json:"since"`    // created then or later; nil: whenever
	Until      time.Time       `json:"until"`    // and before
	States     []string        `json:"states"`   // of deliveries, or statuses of tasks
	Filter     json.RawMessage `json:"filter"`   // the rest of the choice
	PerSecond  int             `json:"per_second"`
	Matched    int64           `json:"matched"` // chosen when it began
	Done       int64           `json:"done"`    // changed so far
	CreatedAt  time.Time       `json:"created_at"`
	FinishedAt *time.Time      `json:"finished_at"` // nil while under way
	Position   int64           `json:"-"`           // those up to this id are done
	Last       int64           `json:"-"`           // those after this id came later
}

// The states of a bulk action.
const (
	BulkUnderWay = "under_way"
	BulkStopped  = "stopped" // by a person
	BulkFinished = "finished"
)

const bulkColumns = `
		       id,
		       action,
		       case when finished_at is null then 'under_way'
		            when done < matched and position < last then 'stopped' -- one that has finished has come to the last
		            else 'finished' end as state,
		       endpoint,
		       nullif(since, '0001-01-01 00:00:00+00') as since,
		       until,
		       states,
		       filter,
		       per_second,
		       matched,
		       done,
		       created_at,
		       finished_at,
		       position,
		       last`

// AddRedelivery begins a bulk redelivery of so many deliveries; its job comes with it. RefusedValue holds
// for the error where a state or perSecond is not allowed.
func AddRedelivery(ctx context.Context, q Querier, c DeliveryChoice, matched int64, perSecond int) (Bulk, error) {
	return addBulk(ctx, q, BulkRedeliver, c, pgx.StrictNamedArgs{
		"endpoint": c.Endpoint, "since": c.Since, "until": optionalTime(c.Until), "states": orEmpty(c.States), "matched": matched, "per_second": perSecond,
	})
}

// AddTaskAction begins BulkRetry or BulkCancel with so many tasks; its job comes with it. RefusedValue holds
// for the error where a status or perSecond is not allowed.
func AddTaskAction(ctx context.Context, q Querier, action string, c TaskChoice, matched int64, perSecond int) (Bulk, error) {
	return addBulk(ctx, q, action, c, pgx.StrictNamedArgs{
		"endpoint": nil, "since": c.Since, "until": optionalTime(c.Until), "states": orEmpty(c.Statuses), "matched": matched, "per_second": perSecond,
	})
}

func addBulk(ctx context.Context, q Querier, action string, filter any, args pgx.StrictNamedArgs) (Bulk, error) {
	args["action"], args["filter"] = action, filter
	return one[Bulk](ctx, q, `
		insert into klingwatch.bulk_actions (action, endpoint, since, until, states, filter, per_second, matched, last)
		values (@action, @endpoint, @since, coalesce(@until, now()), @states, @filter, @per_second, @matched,
		        case when @action = 'redeliver' then (select coalesce(max(id), 0) from klingwatch.deliveries)
		             else (select coalesce(max(id), 0) from klingwatch.tasks) end)
		returning`+bulkColumns, args)
}

// ListBulks returns the newest bulk actions first, or the one with an id; 0 chooses all.
func ListBulks(ctx context.Context, q Querier, id int64, limit int) ([]Bulk, error) {
	return all[Bulk](ctx, q, `
		select`+bulkColumns+`
		from klingwatch.bulk_actions
		where @id = 0 or id = @id
		order by id desc
		limit @limit`,
		pgx.StrictNamedArgs{"id": id, "limit": limit})
}

// LockBulk reads a bulk action that is under way, and locks it until the end of the
// transaction. It returns ErrNotFound for one that has finished or is not there.
func LockBulk(ctx context.Context, q Querier, id int64) (Bulk, error) {
	return one[Bulk](ctx, q, `
		select`+bulkColumns+`
		from klingwatch.bulk_actions
		where id = @id and finished_at is null
		for update`,
		pgx.StrictNamedArgs{"id": id})
}

// since is as a choice has it.
func (b Bulk) since() time.Time {
	if b.Since == nil {
		return time.Time{}
	}
	return *b.Since
}

// next are the parameters of what comes next.
func (b Bulk) next() pgx.StrictNamedArgs {
	return pgx.StrictNamedArgs{"position": b.Position, "last": b.Last, "per_second": b.PerSecond}
}

// Taken is what a bulk action has come to in a second.
type Taken struct {
	Chosen  []int64 // in their order: what comes after them is next
	Changed []int64 // those that were still there, and still fit
}

// LockNextTasks chooses the next tasks of a bulk action, as many as it may change in a
// second, and locks those that still fit: Changed.
func LockNextTasks(ctx context.Context, q Querier, b Bulk) (Taken, error) {
	var c TaskChoice
	if err := json.Unmarshal(b.Filter, &c); err != nil {
		return Taken{}, err
	}
	c.Statuses, c.Since, c.Until = b.States, b.since(), b.Until
	return one[Taken](ctx, q, `
		with chosen as materialized (
			select t.id
			from klingwatch.tasks t
			where t.id > @position and t.id <= @last and`+chosenTasks+`
			order by t.id
			limit @per_second
		), locked as (
			select t.id
			from klingwatch.tasks t
			where t.id in (select id from chosen) and`+chosenTasks+`
			order by t.id
			for no key update
		)
		select coalesce((select array_agg(id order by id) from chosen), '{}') as chosen,
		       coalesce((select array_agg(id) from locked), '{}') as changed`,
		c.with(b.next()))
}

// RedeliverNext makes the next deliveries of a bulk redelivery due, as many as it may
// in a second.
func RedeliverNext(ctx context.Context, q Querier, b Bulk) (Taken, error) {
	var c DeliveryChoice
	if err := json.Unmarshal(b.Filter, &c); err != nil {
		return Taken{}, err
	}
	c.States, c.Endpoint, c.Since, c.Until = b.States, b.Endpoint, b.since(), b.Until
	return one[Taken](ctx, q, `
		with chosen as materialized (
			select d.id
			from klingwatch.deliveries d
			where d.id > @position and d.id <= @last and`+chosenDeliveries+`
			order by d.id
			limit @per_second
		), again as (
			update klingwatch.deliveries d
			set`+redeliver+`
			from chosen c
			where d.id = c.id
			returning d.id, d.next_attempt_at
		)
		select coalesce((select array_agg(id order by id) from chosen), '{}') as chosen,
		       coalesce((select array_agg(id) from again), '{}') as changed
		from (select klingwatch.give_jobs('deliver', (select array_agg(id) from again where next_attempt_at is not null))) as given`,
		c.with(b.next()))
}

// RecordProgress notes what a bulk action has taken. It ends the action and returns true
// when nothing is left.
func RecordProgress(ctx context.Context, q Querier, b Bulk, taken Taken) (finished bool, err error) {
	finished, position := len(taken.Chosen) < b.PerSecond, b.Position
	if len(taken.Chosen) > 0 {
		position = taken.Chosen[len(taken.Chosen)-1]
	}
	return finished, existing(q.Exec(ctx, `
		update klingwatch.bulk_actions
		set done = done + @changed,
		    position = case when @finished then last else @position end,
		    finished_at = case when @finished then now() end
		where id = @id`,
		pgx.StrictNamedArgs{"id": b.ID, "changed": len(taken.Changed), "position": position, "finished": finished}))
}

// StopBulk ends a bulk action; what is done stays done. It returns ErrNotFound for one
// that has finished or is not there.
func StopBulk(ctx context.Context, q Querier, id int64) error {
	return existing(q.Exec(ctx, `update klingwatch.bulk_actions set finished_at = now() where id = @id and finished_at is null`,
		pgx.StrictNamedArgs{"id": id}))
}
