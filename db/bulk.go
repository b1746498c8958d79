package db

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/lookback"
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
	Unkept     bool              `json:"unkept,omitempty"`   // with a file that is not kept, nor to be, and is still at the provider; not where the task itself refuses that
	Since      time.Time         `json:"-"`                  // created then or later
	Until      time.Time         `json:"-"`                  // created before
}

// TaskDue is when an open task t should have been asked about or have ended. A poll that
// changes nothing is not written: only the first one and the last tell that they are late.
const TaskDue = `case when t.status = 'pending' and t.polls = 0 then t.created_at else t.deadline_at end`

// chosenTasks is the condition of a TaskChoice on the tasks t.
const chosenTasks = `
		      (cardinality(@statuses::text[]) = 0 or t.status = any (@statuses))
		      -- what follows from the statuses, in the words of indexes
		  and (@ended = '' or t.ended_as = @ended)
		  and (not @troubled or t.finished_at is null and @open or t.ended_as = any (@all_ended))
		  and (@path = '' or t.action = @path or t.action || '/' || t.action2 = @path)
		  and (@relay = '' or t.relay = @relay)
		  and (@app = '' or t.app = @app)
		  and (@external_id = '' or t.external_id = @external_id)
		  and (@key = '' or t.metadata->>@key = @value)
		  and (@metadata::jsonb = '{}' or not exists (select from jsonb_each_text(@metadata) wanted where t.metadata->>wanted.key is distinct from wanted.value))
		  and (@error = '' or position(lower(@error) in lower(concat_ws(' ', t.status_message, t.error_code, t.last_error))) > 0)
		  and (not @overdue or t.finished_at is null
		                       and ` + TaskDue + ` < now() - interval '1 min')
		  and (not @unkept or t.archive is not false and exists (select from klingwatch.outputs o where o.task = t.id and` + unkept + `))
		  and t.created_at >= @since
		  and (@until::timestamptz is null or t.created_at < @until)`

// unkept is the condition on outputs o that were not asked for, or are lost, although the
// provider still has them.
const unkept = `
		      (o.archive_state is null or o.archive_state = 'lost')
		  and (o.expires_at is null or o.expires_at > now())`

// with returns the parameters of chosenTasks and more.
func (c TaskChoice) with(more pgx.StrictNamedArgs) pgx.StrictNamedArgs {
	args := pgx.StrictNamedArgs{
		"statuses": orEmpty(c.Statuses), "path": c.Path, "relay": c.Relay, "app": c.App, "external_id": c.ExternalID, "metadata": "{}", "key": "", "value": "", "error": c.Error,
		"overdue": c.Overdue, "unkept": c.Unkept, "since": c.Since, "until": optionalTime(c.Until),
	}
	for args["key"], args["value"] = range c.Metadata { // one of them first: to look at all costs ten times as much
		break
	}
	if len(c.Metadata) > 1 || args["key"] == "" && len(c.Metadata) > 0 {
		args["metadata"] = c.Metadata
	}
	maps.Copy(args, c.reach())
	maps.Copy(args, more)
	return args
}

// reach tells where the tasks of a choice are, going by their statuses: an index leads to
// those that are open, or that have ended without success. What has an error is one of them.
func (c TaskChoice) reach() pgx.StrictNamedArgs {
	open, ended, others := false, []string{}, len(c.Statuses) == 0
	for _, status := range c.Statuses {
		switch {
		case !Terminal(status):
			open = true
		case status == Succeeded:
			others = true
		default:
			ended = append(ended, status)
		}
	}
	if others && c.Error != "" {
		open, ended, others = true, unsuccessful, false
	}
	if c.Overdue {
		open, ended, others = true, []string{}, false
	}
	args := pgx.StrictNamedArgs{"ended": "", "troubled": !others, "open": open, "all_ended": ended}
	if !others && !open && len(ended) == 1 {
		args["ended"], args["troubled"] = ended[0], false // in the order of their ids
	}
	return args
}

// indexed reports whether an index may lead to what is chosen, wherever it is.
func (c TaskChoice) indexed() bool {
	args := c.reach()
	return args["ended"] != "" || args["troubled"] == true && c.Error == "" || c.Path != "" || c.Relay != "" || c.App != "" || c.ExternalID != "" || !c.Since.IsZero()
}

// onlySince reports whether no index leads to what is chosen but the one on times, which
// the planner underestimates.
func (c TaskChoice) onlySince() bool {
	since := c.Since
	c.Since = time.Time{}
	return !since.IsZero() && !c.indexed()
}

// DeliveryChoice chooses deliveries. Zero fields choose all.
type DeliveryChoice struct {
	States   []string   `json:"-"`
	Endpoint *int64     `json:"-"`                  // nil: all, callbacks included
	Since    time.Time  `json:"-"`                  // created then or later
	Until    time.Time  `json:"-"`                  // created before
	Error    string     `json:"error,omitempty"`    // part of the last error, in capitals or not
	Task     int64      `json:"task,omitempty"`     // of this task; 0: of all
	Type     string     `json:"type,omitempty"`     // of events of this type
	Callback bool       `json:"callback,omitempty"` // to callbacks of tasks only
	Tasks    TaskChoice `json:"tasks,omitzero"`     // of these tasks; its times are not used
}

// chosenDeliveries is the condition of a DeliveryChoice on the deliveries d.
const chosenDeliveries = `
		      (cardinality(@states::text[]) = 0 or d.state = any (@states))
		  and (@endpoint::bigint is null or d.endpoint = @endpoint)
		  and (@task::bigint = 0 or d.event in (select id from klingwatch.events where task = @task))
		  and (@type = '' or exists (select from klingwatch.events typed where typed.id = d.event and typed.type = @type))
		  and (not @callback or d.endpoint is null)
		  and d.created_at >= @from
		  and (@before::timestamptz is null or d.created_at < @before)
		  -- what was delivered has no error
		  and (@last_error = '' or (d.state = 'pending' or d.state = 'exhausted' or d.state = 'canceled') and position(lower(@last_error) in lower(d.last_error)) > 0)
		  and (not @by_task or exists (select
		                               from klingwatch.events ev
		                               join klingwatch.tasks t on t.id = ev.task
		                               where ev.id = d.event and` + chosenTasks + `))`

// with returns the parameters of chosenDeliveries and more.
func (c DeliveryChoice) with(more pgx.StrictNamedArgs) pgx.StrictNamedArgs {
	c.Tasks.Since, c.Tasks.Until = time.Time{}, time.Time{}
	args := c.Tasks.with(pgx.StrictNamedArgs{
		"states": orEmpty(c.States), "endpoint": c.Endpoint, "from": c.Since, "before": optionalTime(c.Until), "last_error": c.Error,
		"task": c.Task, "type": c.Type, "callback": c.Callback, "by_task": !c.Tasks.ChoosesAll(),
	})
	maps.Copy(args, more)
	return args
}

// indexed reports whether an index may lead to what is chosen, wherever it is.
func (c DeliveryChoice) indexed() bool {
	rare := len(c.States) == 1 && c.States[0] != DeliveryDelivered
	return rare || c.Task != 0 || c.Endpoint != nil || c.Error != "" || !c.Since.IsZero() || c.Tasks.indexed()
}

// ChoosesAll reports whether no field chooses.
func (c TaskChoice) ChoosesAll() bool {
	return len(c.Statuses) == 0 && c.Path == "" && c.Relay == "" && c.App == "" && c.ExternalID == "" && len(c.Metadata) == 0 && c.Error == "" && !c.Overdue && !c.Unkept &&
		c.Since.IsZero() && c.Until.IsZero()
}

// ChoosesAll reports whether no field chooses, or only States.
func (c DeliveryChoice) ChoosesAll() bool {
	return c.Task == 0 && c.Type == "" && !c.Callback && c.Endpoint == nil && c.Since.IsZero() && c.Until.IsZero() && c.Error == "" && c.Tasks.ChoosesAll()
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

// Count is how many there are of a choice.
type Count struct {
	N     int64
	Exact bool // false: at least N; more were not counted
}

// countPatience is how long is counted for people: a page waits for it.
const countPatience = 20 * time.Millisecond

// CountTasksUpTo counts the tasks of a choice for people: at most so many, and not for
// long. N is 0 and not exact where the time was over.
func CountTasksUpTo(ctx context.Context, b Beginner, c TaskChoice, most int) (Count, error) {
	return countUpTo(ctx, b, most, `select 1 from klingwatch.tasks t where`+chosenTasks+` limit @most`, c.with(pgx.StrictNamedArgs{"most": most + 1}))
}

// CountTasksAbove is CountTasksUpTo for those tasks of a choice that came after an id.
func CountTasksAbove(ctx context.Context, b Beginner, c TaskChoice, id int64, most int) (Count, error) {
	return countUpTo(ctx, b, most, `select 1 from klingwatch.tasks t where t.id > @above and`+chosenTasks+` limit @most`, c.with(pgx.StrictNamedArgs{"most": most + 1, "above": id}))
}

// CountDeliveriesUpTo is CountTasksUpTo for deliveries.
func CountDeliveriesUpTo(ctx context.Context, b Beginner, c DeliveryChoice, most int) (Count, error) {
	return countUpTo(ctx, b, most, `select 1 from klingwatch.deliveries d where`+chosenDeliveries+` limit @most`, c.with(pgx.StrictNamedArgs{"most": most + 1}))
}

// CountDeliveriesAbove is CountTasksAbove for deliveries.
func CountDeliveriesAbove(ctx context.Context, b Beginner, c DeliveryChoice, id int64, most int) (Count, error) {
	return countUpTo(ctx, b, most, `select 1 from klingwatch.deliveries d where d.id > @above and`+chosenDeliveries+` limit @most`, c.with(pgx.StrictNamedArgs{"most": most + 1, "above": id}))
}

func countUpTo(ctx context.Context, b Beginner, most int, sql string, args pgx.StrictNamedArgs) (Count, error) {
	type counted struct{ N int64 }
	rows, err := limited[counted](ctx, b, countPatience, "", `select count(*) as n from (`+sql+`) as found`, args)
	switch {
	case errors.Is(err, lookback.ErrTooLong):
		return Count{}, nil
	case err != nil:
		return Count{}, err
	}
	return Count{N: min(rows[0].N, int64(most)), Exact: rows[0].N <= int64(most)}, nil
}

// CountTasks counts the tasks of a choice, however long that takes.
func CountTasks(ctx context.Context, q Querier, c TaskChoice) (n int64, err error) {
	err = q.QueryRow(ctx, `select count(*) from klingwatch.tasks t where`+chosenTasks, c.with(nil)).Scan(&n)
	return n, err
}

// CountDeliveries counts the deliveries of a choice, however long that takes.
func CountDeliveries(ctx context.Context, q Querier, c DeliveryChoice) (n int64, err error) {
	err = q.QueryRow(ctx, `select count(*) from klingwatch.deliveries d where`+chosenDeliveries, c.with(nil)).Scan(&n)
	return n, err
}

// What is done to many: bulk_actions.action.
const (
	BulkRedeliver = "redeliver" // deliveries become due again
	BulkRetry     = "retry"     // tasks that have ended are asked about again
	BulkCancel    = "cancel"    // open tasks are not tracked any more
	BulkArchive   = "archive"   // files of tasks that succeeded are kept, where they were not to be, or were lost
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
	Paced      bool            `json:"paced"`   // false: as many as fit into the time that it may take
	Matched    int64           `json:"matched"` // chosen when it began
	Done       int64           `json:"done"`    // changed so far
	CreatedAt  time.Time       `json:"created_at"`
	FinishedAt *time.Time      `json:"finished_at"` // nil while under way
	Position   int64           `json:"-"`           // those up to this id are done
	Last       int64           `json:"-"`           // those after this id came later
}

// App is the app whose tasks alone it is about; "": those of all.
func (b Bulk) App() string {
	var c TaskChoice
	_ = json.Unmarshal(b.Filter, &c) // ours
	return c.App
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
		       paced,
		       matched,
		       done,
		       created_at,
		       finished_at,
		       position,
		       last`

// unpacedPerSecond is how many the version before changes per second, which paces all.
const unpacedPerSecond = 500

// AddRedelivery begins a bulk redelivery of so many deliveries; its job comes with it. RefusedValue holds
// for the error where a state or perSecond is not allowed.
func AddRedelivery(ctx context.Context, q Querier, c DeliveryChoice, matched int64, perSecond int) (Bulk, error) {
	return addBulk(ctx, q, BulkRedeliver, c, pgx.StrictNamedArgs{
		"endpoint": c.Endpoint, "since": c.Since, "until": optionalTime(c.Until), "states": orEmpty(c.States), "matched": matched, "per_second": perSecond, "paced": true,
	})
}

// AddTaskAction begins BulkRetry, BulkCancel or BulkArchive with so many tasks; its job comes with it. With 0 per second
// as many are changed as fit into the time that it may take. RefusedValue holds for the error where a status
// or perSecond is not allowed.
func AddTaskAction(ctx context.Context, q Querier, action string, c TaskChoice, matched int64, perSecond int) (Bulk, error) {
	paced := perSecond != 0
	if !paced {
		perSecond = unpacedPerSecond
	}
	return addBulk(ctx, q, action, c, pgx.StrictNamedArgs{
		"endpoint": nil, "since": c.Since, "until": optionalTime(c.Until), "states": orEmpty(c.Statuses), "matched": matched, "per_second": perSecond, "paced": paced,
	})
}

func addBulk(ctx context.Context, q Querier, action string, filter any, args pgx.StrictNamedArgs) (Bulk, error) {
	args["action"], args["filter"] = action, filter
	return one[Bulk](ctx, q, `
		insert into klingwatch.bulk_actions (action, endpoint, since, until, states, filter, per_second, paced, matched, last)
		values (@action, @endpoint, @since, coalesce(@until, now()), @states, @filter, @per_second, @paced, @matched,
		        case when @action = 'redeliver' then (select coalesce(max(id), 0) from klingwatch.deliveries)
		             else (select coalesce(max(id), 0) from klingwatch.tasks) end)
		returning`+bulkColumns, args)
}

// ListBulks returns the newest bulk actions first, or the one with an id, of those before a
// cursor; 0 is none.
func ListBulks(ctx context.Context, q Querier, id, cursor int64, limit int) ([]Bulk, error) {
	return all[Bulk](ctx, q, `
		select`+bulkColumns+`
		from klingwatch.bulk_actions
		where (@id::bigint = 0 or id = @id) and (@cursor::bigint = 0 or id < @cursor)
		order by id desc
		limit @limit`,
		pgx.StrictNamedArgs{"id": id, "cursor": cursor, "limit": limit})
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

// next are the parameters of what comes next, at most so many.
func (b Bulk) next(most int) pgx.StrictNamedArgs {
	return pgx.StrictNamedArgs{"position": b.Position, "last": b.Last, "most": most}
}

// Taken is what a bulk action has come to at once.
type Taken struct {
	Chosen  []int64 // in their order: what comes after them is next
	Changed []int64 // those that were still there, and still fit
}

// LockNextTasks chooses the next tasks of a bulk action, at most so many, and locks those
// that still fit: Changed.
func LockNextTasks(ctx context.Context, q Querier, b Bulk, most int) (Taken, error) {
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
			limit @most
		), locked as (
			select t.id
			from klingwatch.tasks t
			where t.id = any (array(select id from chosen)) and`+chosenTasks+`
			order by t.id
			for no key update
		)
		select coalesce((select array_agg(id order by id) from chosen), '{}') as chosen,
		       coalesce((select array_agg(id) from locked), '{}') as changed`,
		c.with(b.next(most)))
}

// RedeliverNext makes the next deliveries of a bulk redelivery due, at most so many.
func RedeliverNext(ctx context.Context, q Querier, b Bulk, most int) (Taken, error) {
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
			limit @most
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
		c.with(b.next(most)))
}

// RecordProgress notes what a bulk action has taken of at most so many. It ends the
// action and returns true when nothing is left.
func RecordProgress(ctx context.Context, q Querier, b Bulk, taken Taken, most int) (finished bool, err error) {
	finished, position := len(taken.Chosen) < most, b.Position
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
