package db

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/lookback"
)

// The statuses of a task.
const (
	Pending    = "pending"    // the relay has not answered yet
	Submitted  = "submitted"  // at the provider, waiting
	Processing = "processing" // at the provider, being worked on
	Succeeded  = "succeeded"  // terminal: the provider said so
	Failed     = "failed"     // terminal: the provider said so
	Expired    = "expired"    // terminal: we stopped looking
	NotFound   = "not_found"  // terminal: the relay does not know the task
	Canceled   = "canceled"   // terminal: the user stopped tracking
)

// Who ends a task: tasks.ended_by.
const (
	ByProvider   = "provider"   // its own word
	ByRelay      = "relay"      // its time-out or trouble: the provider may still finish
	ByKlingwatch = "klingwatch" // expired, not_found
	ByPerson     = "person"     // canceled
)

// Statuses are all statuses, in the order of a task's life.
var Statuses = []string{Pending, Submitted, Processing, Succeeded, Failed, Expired, NotFound, Canceled}

// unsuccessful are the statuses of tasks that have ended without success: tasks.ended_as.
var unsuccessful = []string{Failed, Expired, NotFound, Canceled}

// Terminal reports whether a status ends a task.
func Terminal(status string) bool {
	return slices.Index(Statuses, status) > slices.Index(Statuses, Processing)
}

// NewTask is a task about to be inserted. Relay, TaskID, Action and Action2 together
// make it one and the same.
type NewTask struct {
	Relay       string          `json:"relay,omitempty"` // "": DefaultRelay
	App         string          `json:"app,omitempty"`   // whose it is; "": the role's that inserts it
	TaskID      string          `json:"task_id"`
	Action      string          `json:"action"`             // like videos
	Action2     string          `json:"action2"`            // like text2video, or avatar/image2video
	ExternalID  *string         `json:"external_id"`        // the app's own reference; nil: none
	CallbackURL *string         `json:"callback_url"`       // gets the terminal event; nil: none
	Metadata    json.RawMessage `json:"metadata,omitempty"` // a JSON object; nil: {}
	DeadlineIn  *time.Duration  `json:"-"`                  // from now; nil: the deployment's KLINGWATCH_TASK_DEADLINE
	DeadlineAt  *time.Time      `json:"deadline_at"`        // the same as a time

	Archive        *bool    `json:"archive"`                   // whether its files are kept; nil: as its relay says
	CallbackEvents []string `json:"callback_events,omitempty"` // what CallbackURL gets beside the terminal event
}

// Tracked is a task that is tracked, by its natural key and by our id.
type Tracked struct {
	ID      int64
	Relay   string
	TaskID  string
	Action  string
	Action2 string
}

// InsertTasks inserts the tasks that are not tracked yet, with their jobs, and
// returns those as they are now, in no particular order. It waits for another transaction that
// inserts one of them. Where the database refuses a value, RefusedValue holds for
// the error and none is inserted.
func InsertTasks(ctx context.Context, q Querier, tasks []NewTask) ([]Task, error) {
	type row struct {
		NewTask
		DeadlineIn *float64 `json:"deadline_in"` // seconds
	}
	rows := make([]row, len(tasks))
	for i, t := range tasks {
		rows[i].NewTask = t
		if t.DeadlineIn != nil {
			seconds := t.DeadlineIn.Seconds()
			rows[i].DeadlineIn = &seconds
		}
	}
	input, err := json.Marshal(rows)
	if err != nil {
		return nil, err
	}
	return all[Task](ctx, q, `
		with t as (
			insert into klingwatch.tasks (relay, app, task_id, action, action2, external_id, callback_url, metadata, deadline_at, archive, callback_events)
			select coalesce(relay, 'default'),
			       coalesce(app, current_user),
			       task_id,
			       action,
			       action2,
			       external_id,
			       callback_url,
			       coalesce(metadata, '{}'),
			       coalesce(deadline_at, now() + make_interval(secs => deadline_in)),
			       archive,
			       coalesce(callback_events, '{}')
			from jsonb_to_recordset(@tasks::jsonb) as n(
			     relay text, app text, task_id text, action text, action2 text, external_id text, callback_url text, metadata jsonb, deadline_at timestamptz, deadline_in float8,
			     archive boolean, callback_events text[])
			on conflict do nothing -- whatever the key is: see migrations/014_relays.sql
			returning *
		)
		select`+taskValues+`
		from t
		-- their jobs are due at once: to look for each would take as long as to add it
		cross join lateral (select 'available' as state, t.created_at as scheduled_at, null as instance, '{}'::jsonb as metadata) j`,
		pgx.StrictNamedArgs{"tasks": input})
}

// FindTracked returns those of the tasks that are tracked, in no particular order.
// It is no part of InsertTasks: only a later statement sees a task that another
// transaction inserted while InsertTasks ran.
func FindTracked(ctx context.Context, q Querier, tasks []NewTask) ([]Tracked, error) {
	input, err := json.Marshal(tasks)
	if err != nil {
		return nil, err
	}
	return all[Tracked](ctx, q, `
		select t.id,
		       t.relay,
		       t.task_id,
		       t.action,
		       t.action2
		from jsonb_to_recordset(@tasks::jsonb) as n(relay text, task_id text, action text, action2 text)
		join klingwatch.tasks t using (task_id, action, action2)
		where t.relay = coalesce(n.relay, 'default')`,
		pgx.StrictNamedArgs{"tasks": input})
}

// Task is a row of klingwatch.tasks as people read it.
type Task struct {
	ID                int64           `json:"id"`
	Relay             string          `json:"relay"`
	App               string          `json:"app"` // the role that inserted it; "": from before there was this column
	TaskID            string          `json:"task_id"`
	Action            string          `json:"action"`
	Action2           string          `json:"action2"`
	ExternalID        *string         `json:"external_id"`
	CallbackURL       *string         `json:"callback_url"`
	CallbackEvents    []string        `json:"callback_events"` // what CallbackURL gets beside the terminal event
	Archive           *bool           `json:"archive"`         // whether its files are kept; nil: as its relay says
	Metadata          json.RawMessage `json:"metadata"`
	Status            string          `json:"status"`
	UpstreamStatus    *string         `json:"upstream_status"`
	StatusMessage     string          `json:"status_message"`
	EndedBy           *string         `json:"ended_by"` // nil while it is open
	ErrorCode         *string         `json:"error_code"`
	RequestID         *string         `json:"request_id"`
	Result            json.RawMessage `json:"result"`
	UnitDeduction     *json.Number    `json:"unit_deduction"`
	Polls             int             `json:"polls"`
	LastError         *string         `json:"last_error"`
	LastPolledAt      *time.Time      `json:"last_polled_at"`
	NextPollAt        *time.Time      `json:"next_poll_at"` // nil: none is planned, or only its process knows
	PolledBy          *string         `json:"polled_by"`    // the process that has it now; nil: none has
	CreatedAt         time.Time       `json:"created_at"`
	SubmittedAt       *time.Time      `json:"submitted_at"`
	ProcessingAt      *time.Time      `json:"processing_at"`
	UpstreamCreatedAt *time.Time      `json:"upstream_created_at"`
	UpstreamUpdatedAt *time.Time      `json:"upstream_updated_at"`
	DeadlineAt        *time.Time      `json:"deadline_at"`
	FinishedAt        *time.Time      `json:"finished_at"`
}

// taskColumns are the columns of Task. A poll that changes nothing is not written
// to tasks. The job of a task that sleeps until its next poll knows of it; the
// others are in the memory of the process that polls. An app may not read jobs.
const taskColumns = taskValues + `
		from klingwatch.tasks t
		left join lateral klingwatch.poll_job(case when t.status in ('pending', 'submitted', 'processing', 'expired') then t.id end) j on true`

// taskValues are the columns of t, a task, and j, its job.
const taskValues = `
		       t.id,
		       t.relay,
		       t.app,
		       t.task_id,
		       t.action,
		       t.action2,
		       t.external_id,
		       t.callback_url,
		       t.callback_events,
		       t.archive,
		       t.metadata,
		       t.status,
		       t.upstream_status,
		       t.status_message,
		       t.ended_by,
		       t.error_code,
		       t.request_id,
		       t.result,
		       t.unit_deduction::text as unit_deduction,
		       greatest(t.polls, (j.metadata->'klingwatch'->>'polls')::int) as polls,
		       t.last_error,
		       t.last_polled_at,
		       case when j.state <> 'running' then j.scheduled_at end as next_poll_at,
		       case when j.state = 'running' then j.instance end as polled_by,
		       t.created_at,
		       t.submitted_at,
		       t.processing_at,
		       t.upstream_created_at,
		       t.upstream_updated_at,
		       t.deadline_at,
		       t.finished_at`

// ListTasks returns a page of the tasks of a choice.
func ListTasks(ctx context.Context, b Beginner, c TaskChoice, s lookback.Search) (Page[Task], error) {
	list := lookback.List[Task]{
		ID: func(t Task) int64 { return t.ID },
		Newest: func(ctx context.Context) (id int64, err error) {
			err = b.QueryRow(ctx, `select coalesce(max(id), 0) from klingwatch.tasks`).Scan(&id)
			return id, err
		},
		Read: c.read(b, ""),
	}
	if c.indexed() {
		list.ReadIndexed = list.Read
	}
	if c.onlySince() {
		list.ReadIndexed = c.read(b, bitmaps)
	}
	if !c.Until.IsZero() {
		list.Skip = c.skip(b)
	}
	p, err := list.Page(ctx, s)
	if err != nil {
		return Page[Task]{}, err
	}
	return pageOf(ctx, b, p, `select created_at from klingwatch.tasks where id >= @id order by id limit 1`)
}

// read reads the newest tasks of a range of ids first.
func (c TaskChoice) read(b Beginner, settings string) func(context.Context, lookback.Range, int, time.Duration) ([]Task, error) {
	return func(ctx context.Context, r lookback.Range, limit int, patience time.Duration) ([]Task, error) {
		return limited[Task](ctx, b, patience, settings, `
			with page as materialized (
				select t.id
				from klingwatch.tasks t
				where t.id >= @low and t.id < @high and`+chosenTasks+`
				order by t.id desc
				limit @limit
			)
			select`+taskColumns+`
			where t.id = any (array(select id from page))
			order by t.id desc`,
			c.with(pgx.StrictNamedArgs{"low": r.From, "high": r.Before, "limit": limit}))
	}
}

// skip finds the id from which on tasks are younger than Until, as their times follow
// their ids, and reads those above it that are older all the same: an index on both tells
// where such are.
func (c TaskChoice) skip(b Beginner) func(context.Context, lookback.Range, int, time.Duration) ([]Task, int64, error) {
	return func(ctx context.Context, r lookback.Range, limit int, patience time.Duration) (tasks []Task, to int64, err error) {
		if err := b.QueryRow(ctx, `
			with recursive half as (
				select @low::bigint as low, @high::bigint as high
				union all
				select case when p.created_at < @until then h.low + (h.high - h.low) / 2 else h.low end,
				       case when p.created_at < @until then h.high else h.low + (h.high - h.low) / 2 end
				from half h
				-- the last one is beyond the ids that there are
				cross join lateral (select coalesce((select created_at from klingwatch.tasks t where t.id >= h.low + (h.high - h.low) / 2 order by id limit 1), 'infinity')) as p(created_at)
				where h.high - h.low > 1
			)
			select min(high) from half`,
			pgx.StrictNamedArgs{"low": r.From, "high": r.Before, "until": c.Until}).Scan(&to); err != nil {
			return nil, 0, err
		}
		if to == r.Before {
			return nil, to, nil
		}
		tasks, err = limited[Task](ctx, b, patience, bitmaps, `
			with stray as materialized (
				select id
				from klingwatch.tasks
				where created_at < @until and id >= @low and id < @high
			)
			select`+taskColumns+`
			where t.id = any (array(select id from stray)) and`+chosenTasks+`
			order by t.id desc
			limit @limit`,
			c.with(pgx.StrictNamedArgs{"low": to, "high": r.Before, "limit": limit}))
		return tasks, to, err
	}
}

// TrackedPaths returns the paths that there are tasks of.
func TrackedPaths(ctx context.Context, q Querier) ([]string, error) {
	rows, err := q.Query(ctx, `select distinct action || '/' || action2 as path from klingwatch.tasks order by path`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// mostFound bounds how many tasks FindTasks returns.
const mostFound = 200

// FindTasks returns the tasks with our id, the provider's id or an external id, oldest
// first; of very many the newest 200. There may be several: one id of the provider's can be
// tracked under several paths, and an app may give one external id to several tasks.
func FindTasks(ctx context.Context, q Querier, id string) ([]Task, error) {
	return all[Task](ctx, q, `
		select`+taskColumns+`
		where t.id in (select id
		               from klingwatch.tasks
		               where task_id = @id or external_id = @id or id = case when @id ~ '^[0-9]{1,18}$' then @id::bigint end
		               order by id desc
		               limit @most)
		order by t.id`,
		pgx.StrictNamedArgs{"id": id, "most": mostFound})
}

// TasksOf returns tasks by our ids, in their order. Ids that do not exist are left out.
func TasksOf(ctx context.Context, q Querier, ids []int64) ([]Task, error) {
	return all[Task](ctx, q, `
		select`+taskColumns+`
		where t.id = any (`+idsByKey+`)
		order by t.id`,
		pgx.StrictNamedArgs{"ids": ids})
}

// TasksByTaskID returns the tasks with the provider's id, and the relay, action and action2
// of key where it names them, oldest first; those of one app, or for "" of all.
func TasksByTaskID(ctx context.Context, q Querier, key Tracked, app string) ([]Task, error) {
	return all[Task](ctx, q, `
		select`+taskColumns+`
		where t.task_id = @task_id
		  and (@relay = '' or t.relay = @relay)
		  and (@action = '' or t.action = @action)
		  and (@action2 = '' or t.action2 = @action2)
		  and (@app = '' or t.app = @app)
		order by t.id`,
		pgx.StrictNamedArgs{"task_id": key.TaskID, "relay": key.Relay, "action": key.Action, "action2": key.Action2, "app": app})
}

// TaskStatus is what a waiting caller watches.
type TaskStatus struct {
	ID            int64
	TaskID        string
	Status        string
	StatusMessage string
}

// StatusesOf returns the statuses of tasks by our ids, in their order. Ids that do
// not exist are left out.
func StatusesOf(ctx context.Context, q Querier, ids []int64) ([]TaskStatus, error) {
	return all[TaskStatus](ctx, q, `
		select id,
		       task_id,
		       status,
		       status_message
		from klingwatch.tasks
		where id = any (`+idsByKey+`)
		order by id`,
		pgx.StrictNamedArgs{"ids": ids})
}

// ReopenTasks makes terminal tasks pending again, with a new deadline from now, gives
// them jobs that are due at once, and tells who watches them. It returns those that it
// reopened; one that is not terminal, has a relay that was removed, or is not there stays
// as it is.
func ReopenTasks(ctx context.Context, q Querier, ids []int64, deadline time.Duration) (reopened []int64, err error) {
	err = q.QueryRow(ctx, `
		select coalesce(array_agg(t.id), '{}')
		from klingwatch.retry(array(select id from klingwatch.tasks where id = any (`+idsByKey+`)), @deadline::interval) t
		where t.finished_at is null and t.retried_at is not distinct from now() -- the time of this transaction`,
		pgx.StrictNamedArgs{"ids": ids, "deadline": deadline}).Scan(&reopened)
	return reopened, err
}

// noDataFound is Postgres' code for an id that is no task's.
const noDataFound = "P0002"

// AskToCancel has klingwatch serve cancel a task once the transaction has committed, in
// the name of a role that may not write tasks. It returns ErrNotFound for an unknown id.
func AskToCancel(ctx context.Context, q Querier, id int64) error {
	_, err := q.Exec(ctx, `select from klingwatch.cancel(@id::bigint)`, pgx.StrictNamedArgs{"id": id})
	if Code(err) == noDataFound {
		return ErrNotFound
	}
	return err
}

// Cancellation is a row of klingwatch.cancellations: what AskToCancel leaves to be done.
type Cancellation struct {
	Task    int64
	AskedAt time.Time
}

// GetCancellation returns what is left to be done of a task, or ErrNotFound.
func GetCancellation(ctx context.Context, q Querier, task int64) (Cancellation, error) {
	return one[Cancellation](ctx, q, `
		select task,
		       asked_at
		from klingwatch.cancellations
		where task = @task`,
		pgx.StrictNamedArgs{"task": task})
}

// FinishCancellation notes that a cancellation is done. A later one of the same task,
// which was retried in between, stays.
func FinishCancellation(ctx context.Context, q Querier, c Cancellation) error {
	_, err := q.Exec(ctx, `delete from klingwatch.cancellations where task = @task and asked_at = @asked_at`,
		pgx.StrictNamedArgs{"task": c.Task, "asked_at": c.AskedAt})
	return err
}

// PruneTasks deletes tasks that ended longer ago than older, at most limit of them,
// with their outputs, events and deliveries. It returns how many; fewer than limit
// means that none are left.
//
// Their days stay in the reports: a day loses tasks only when every task of that
// day and of the days before has ended and is summarized, and it is not summarized
// again. A task that somebody has locked, or with a webhook under way, stays; a
// webhook that waits for a disabled endpoint is deleted with its task.
func PruneTasks(ctx context.Context, q Querier, older time.Duration, limit int) (pruned int, err error) {
	err = q.QueryRow(ctx, `
		with living as (
			select least((select summarized_until from klingwatch.report_state),
			             (select min(day) from klingwatch.days_to_summarize),
			             (select klingwatch.report_day(min(created_at)) from klingwatch.tasks where finished_at is null),
			             (select klingwatch.report_day(min(created_at)) from klingwatch.tasks where late_checks_until is not null and late_checks_until > now()))
			       ::timestamp at time zone (select time_zone from klingwatch.report_state) as since
		), old as (
			select t.id, t.created_at
			from klingwatch.tasks t
			where t.finished_at < now() - @older::interval
			  and t.created_at < now() - @older::interval
			  and t.created_at < (select since from living)
			  and not exists (select from klingwatch.events e
			                  join klingwatch.deliveries d on d.event = e.id
			                  where e.task = t.id and d.state = 'pending' and d.next_attempt_at is not null)
			limit @limit
			for update of t skip locked
		), frozen as (
			update klingwatch.report_state
			set frozen_until = greatest(frozen_until, (select klingwatch.report_day(max(created_at)) + 1 from old))
			where exists (select from old)
		), noted as (
			update klingwatch.feed
			set tasks_until = greatest(tasks_until, (select max(e.id) from klingwatch.events e where e.task in (select id from old)))
			where exists (select from old)
		), gone as (
			delete from klingwatch.tasks where id in (select id from old)
		)
		select count(*) from old`,
		pgx.StrictNamedArgs{"older": older, "limit": limit}).Scan(&pruned)
	return pruned, err
}

// TroubledPath is a path with open tasks that are all in one kind of trouble.
type TroubledPath struct {
	Relay   string
	Action  string
	Action2 string
	Tasks   int
	Error   string // last_error of one of them
}

// TroubledPaths returns the paths of open tasks whose last_error is of a kind (the
// word before its first colon), those with most tasks first.
func TroubledPaths(ctx context.Context, q Querier, kind string) ([]TroubledPath, error) {
	return all[TroubledPath](ctx, q, `
		select relay,
		       action,
		       action2,
		       count(*) as tasks,
		       max(last_error) as error
		from klingwatch.tasks
		where finished_at is null and split_part(last_error, ':', 1) = @kind
		group by relay, action, action2
		order by tasks desc, relay, action, action2`,
		pgx.StrictNamedArgs{"kind": kind})
}
