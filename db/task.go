package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// NewTask is what a backend app inserts.
type NewTask struct {
	TaskID      string
	Action      string
	Action2     string
	ExternalID  *string
	CallbackURL *string
	Metadata    json.RawMessage // a JSON object; nil: {}
	DeadlineIn  *time.Duration  // from now; nil: the deployment's KLINGWATCH_TASK_DEADLINE
}

// TrackTask inserts a task and returns our id. When the task is tracked
// already, it returns the id it has and false.
func TrackTask(ctx context.Context, q Querier, t NewTask) (id int64, added bool, err error) {
	err = q.QueryRow(ctx, `
		with added as (
			insert into klingwatch.tasks (task_id, action, action2, external_id, callback_url, metadata, deadline_at)
			values (@task_id, @action, @action2, @external_id, @callback_url, coalesce(@metadata::jsonb, '{}'), now() + @deadline_in::interval)
			on conflict (task_id, action, action2) do nothing
			returning id
		)
		select id, true from added
		union all
		select id, false from klingwatch.tasks
		where task_id = @task_id and action = @action and action2 = @action2
		limit 1`,
		pgx.StrictNamedArgs{
			"task_id": t.TaskID, "action": t.Action, "action2": t.Action2,
			"external_id": t.ExternalID, "callback_url": t.CallbackURL, "metadata": t.Metadata,
			"deadline_in": t.DeadlineIn,
		}).Scan(&id, &added)
	return id, added, err
}

// PollTarget is what a poll needs to know of its task.
type PollTarget struct {
	ID             int64
	TaskID         string
	Action         string
	Action2        string
	Status         string
	UpstreamStatus string // "" before the first recorded reply
	LastError      string // "" when the last recorded poll was answered
	Polls          int
	Age            time.Duration // since the insertion, by the database's clock
	Left           time.Duration // until the deadline; negative when it has passed
	Ended          time.Duration // since it became terminal; 0 while it is open
}

// PollTargets reads tasks for polling; deadline applies to tasks that have none
// of their own. Rows that were deleted are left out.
func PollTargets(ctx context.Context, q Querier, ids []int64, deadline time.Duration) ([]PollTarget, error) {
	return all[PollTarget](ctx, q, `
		select id,
		       task_id,
		       action,
		       action2,
		       status,
		       coalesce(upstream_status, '') as upstream_status,
		       coalesce(last_error, '') as last_error,
		       polls,
		       clock_timestamp() - created_at as age,
		       -- a Go duration holds 292 years, a deadline may be further away
		       make_interval(secs => least(1e9, greatest(-1e9, extract(epoch from
		           coalesce(deadline_at, created_at + @deadline::interval)) - extract(epoch from clock_timestamp()))::float8)) as left,
		       coalesce(clock_timestamp() - finished_at, '0') as ended
		from klingwatch.tasks
		where id = any (@ids)`,
		pgx.StrictNamedArgs{"ids": ids, "deadline": deadline})
}

// GetPollTarget reads one task for polling. It returns ErrNotFound for a task
// that was deleted.
func GetPollTarget(ctx context.Context, q Querier, id int64, deadline time.Duration) (PollTarget, error) {
	found, err := PollTargets(ctx, q, []int64{id}, deadline)
	if err != nil {
		return PollTarget{}, err
	}
	if len(found) == 0 {
		return PollTarget{}, ErrNotFound
	}
	return found[0], nil
}

// Trouble says why a poll brought no news of a task; Error "" says that it was
// answered again.
type Trouble struct {
	Task  int64  `json:"task"`
	Error string `json:"error"`
	Polls int    `json:"polls"`
}

// RecordTroubles writes why polls of tasks brought no news.
func RecordTroubles(ctx context.Context, q Querier, troubles []Trouble) error {
	input, err := json.Marshal(troubles)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		update klingwatch.tasks t
		set last_error = nullif(n.error, ''),
		    polls = greatest(t.polls, n.polls),
		    last_polled_at = now()
		from jsonb_to_recordset(@troubles::jsonb) as n(task bigint, error text, polls int)
		where t.id = n.task and t.status in ('pending', 'submitted', 'processing', 'expired')`,
		pgx.StrictNamedArgs{"troubles": input})
	return err
}

// changedTopic is notified with the id of a task that a person changed.
const changedTopic = "klingwatch.tasks"

// ListenForChanges makes the connection hear of tasks that a person changed.
func ListenForChanges(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `listen "`+changedTopic+`"`)
	return err
}

// NotifyChange tells the processes that watch a task to read it again.
func NotifyChange(ctx context.Context, q Querier, id int64) error {
	_, err := q.Exec(ctx, `select pg_notify(@topic, @id::bigint::text)`, pgx.StrictNamedArgs{"topic": changedTopic, "id": id})
	return err
}

// ReopenTask makes a terminal task pending again, with a new deadline from now,
// and gives it a job that is due at once. It returns false for a task that is
// not terminal, was canceled, or is not there.
func ReopenTask(ctx context.Context, q Querier, id int64, deadline time.Duration) (reopened bool, err error) {
	err = q.QueryRow(ctx, `
		with reopened as (
			update klingwatch.tasks
			set status = 'pending',
			    status_message = 'asked again by a person',
			    last_error = null,
			    last_polled_at = null,
			    finished_at = null,
			    late_checks_until = null,
			    retried_at = now(),
			    deadline_at = now() + @deadline::interval
			where id = @id and status in ('succeeded', 'failed', 'expired', 'not_found')
			returning id
		), given as (
			select klingwatch.give_jobs('poll', array_agg(id)) from reopened
		)
		select exists (select from reopened) from given`,
		pgx.StrictNamedArgs{"id": id, "deadline": deadline}).Scan(&reopened)
	return reopened, err
}
