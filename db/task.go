package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// NewTask is what a backend app inserts.
type NewTask struct {
	TaskID      string          `json:"task_id"`
	Action      string          `json:"action"`
	Action2     string          `json:"action2"`
	ExternalID  *string         `json:"external_id"`
	CallbackURL *string         `json:"callback_url"`
	Metadata    json.RawMessage `json:"metadata,omitempty"` // a JSON object; nil: {}
	DeadlineIn  *time.Duration  `json:"-"`                  // from now; nil: the deployment's KLINGWATCH_TASK_DEADLINE
}

// Tracked is a task that is tracked, by its natural key and by our id.
type Tracked struct {
	ID      int64
	TaskID  string
	Action  string
	Action2 string
}

// InsertTasks inserts the tasks that are not tracked yet and returns those.
func InsertTasks(ctx context.Context, q Querier, tasks []NewTask) ([]Tracked, error) {
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
	return all[Tracked](ctx, q, `
		insert into klingwatch.tasks (task_id, action, action2, external_id, callback_url, metadata, deadline_at)
		select task_id,
		       action,
		       action2,
		       external_id,
		       callback_url,
		       coalesce(metadata, '{}'),
		       now() + make_interval(secs => deadline_in)
		from jsonb_to_recordset(@tasks::jsonb) as n(
		     task_id text, action text, action2 text, external_id text, callback_url text, metadata jsonb, deadline_in float8)
		on conflict (task_id, action, action2) do nothing
		returning id,
		          task_id,
		          action,
		          action2`,
		pgx.StrictNamedArgs{"tasks": input})
}

// FindTracked returns those of the tasks that are tracked. After InsertTasks it
// must be a statement of its own: one that another transaction inserted at the
// same moment is seen only by a later statement.
func FindTracked(ctx context.Context, q Querier, tasks []NewTask) ([]Tracked, error) {
	input, err := json.Marshal(tasks)
	if err != nil {
		return nil, err
	}
	return all[Tracked](ctx, q, `
		select t.id,
		       t.task_id,
		       t.action,
		       t.action2
		from jsonb_to_recordset(@tasks::jsonb) as n(task_id text, action text, action2 text)
		join klingwatch.tasks t using (task_id, action, action2)`,
		pgx.StrictNamedArgs{"tasks": input})
}

// PollTarget is what a poll needs to know of its task.
type PollTarget struct {
	ID             int64
	Version        int // of the row; a change that was decided on it is made only while it holds
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
		       version,
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
	Task    int64  `json:"task"`
	Version int    `json:"version"` // that the poll was made on
	Error   string `json:"error"`
	Polls   int    `json:"polls"`
}

// RecordTroubles writes why polls of tasks brought no news, by compare-and-set,
// and returns the tasks for which it did.
func RecordTroubles(ctx context.Context, q Querier, troubles []Trouble) (recorded []int64, err error) {
	input, err := json.Marshal(troubles)
	if err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, `
		update klingwatch.tasks t
		set last_error = nullif(n.error, ''),
		    polls = greatest(t.polls, n.polls),
		    last_polled_at = now(),
		    version = t.version + 1
		from jsonb_to_recordset(@troubles::jsonb) as n(task bigint, version int, error text, polls int)
		where t.id = n.task and t.version = n.version
		returning t.id`,
		pgx.StrictNamedArgs{"troubles": input})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
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
			    version = version + 1,
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
