package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// Task is a row of klingwatch.tasks as people read it.
type Task struct {
	ID                int64           `json:"id"`
	TaskID            string          `json:"task_id"`
	Action            string          `json:"action"`
	Action2           string          `json:"action2"`
	ExternalID        *string         `json:"external_id"`
	CallbackURL       *string         `json:"callback_url"`
	Metadata          json.RawMessage `json:"metadata"`
	Status            string          `json:"status"`
	UpstreamStatus    *string         `json:"upstream_status"`
	StatusMessage     string          `json:"status_message"`
	ErrorCode         *string         `json:"error_code"`
	RequestID         *string         `json:"request_id"`
	Result            json.RawMessage `json:"result"`
	UnitDeduction     *json.Number    `json:"unit_deduction"`
	Polls             int             `json:"polls"`
	LastError         *string         `json:"last_error"`
	LastPolledAt      *time.Time      `json:"last_polled_at"`
	NextPollAt        *time.Time      `json:"next_poll_at"` // nil: none is planned, or one is under way
	CreatedAt         time.Time       `json:"created_at"`
	SubmittedAt       *time.Time      `json:"submitted_at"`
	ProcessingAt      *time.Time      `json:"processing_at"`
	UpstreamCreatedAt *time.Time      `json:"upstream_created_at"`
	UpstreamUpdatedAt *time.Time      `json:"upstream_updated_at"`
	DeadlineAt        *time.Time      `json:"deadline_at"`
	FinishedAt        *time.Time      `json:"finished_at"`
}

// taskColumns are the columns of Task. A poll that changes nothing is not
// written to tasks; a job that sleeps knows of it and of the next one, while a
// resident one keeps both in its process.
const taskColumns = `
		       t.id,
		       t.task_id,
		       t.action,
		       t.action2,
		       t.external_id,
		       t.callback_url,
		       t.metadata,
		       t.status,
		       t.upstream_status,
		       t.status_message,
		       t.error_code,
		       t.request_id,
		       t.result,
		       t.unit_deduction::text as unit_deduction,
		       greatest(t.polls, (j.metadata->'klingwatch'->>'polls')::int) as polls,
		       t.last_error,
		       t.last_polled_at,
		       case when j.state <> 'running' then j.scheduled_at end as next_poll_at,
		       t.created_at,
		       t.submitted_at,
		       t.processing_at,
		       t.upstream_created_at,
		       t.upstream_updated_at,
		       t.deadline_at,
		       t.finished_at
		from klingwatch.tasks t
		left join klingwatch.live_jobs j on j.key = klingwatch.job_key('poll', t.id) and t.status in ('pending', 'submitted', 'processing', 'expired')`

// TaskFilter chooses tasks for ListTasks; empty fields choose all.
type TaskFilter struct {
	Status string
	Action string // action, or action/action2
	Limit  int
}

// ListTasks returns the newest tasks first.
func ListTasks(ctx context.Context, q Querier, f TaskFilter) ([]Task, error) {
	return all[Task](ctx, q, `
		select`+taskColumns+`
		where (@status = '' or t.status = @status)
		  and (@action = '' or t.action = @action or t.action || '/' || t.action2 = @action)
		order by t.id desc
		limit @limit`,
		pgx.StrictNamedArgs{"status": f.Status, "action": f.Action, "limit": f.Limit})
}

// FindTasks returns the tasks with our id or the provider's id (the same one
// may be tracked under several paths), oldest first.
func FindTasks(ctx context.Context, q Querier, id string) ([]Task, error) {
	return all[Task](ctx, q, `
		select`+taskColumns+`
		where t.task_id = @id or t.id = case when @id ~ '^[0-9]{1,18}$' then @id::bigint end
		order by t.id`,
		pgx.StrictNamedArgs{"id": id})
}

// TaskStatus is what a waiting caller watches.
type TaskStatus struct {
	ID            int64
	TaskID        string
	Status        string
	StatusMessage string
}

// StatusesOf returns the statuses of tasks by our ids.
func StatusesOf(ctx context.Context, q Querier, ids []int64) ([]TaskStatus, error) {
	return all[TaskStatus](ctx, q, `
		select id,
		       task_id,
		       status,
		       status_message
		from klingwatch.tasks
		where id = any (@ids)
		order by id`,
		pgx.StrictNamedArgs{"ids": ids})
}

// OutputsOfTask returns a task's files in order.
func OutputsOfTask(ctx context.Context, q Querier, task int64) ([]Output, error) {
	return all[Output](ctx, q, `
		select task,
		       kind,
		       position,
		       url,
		       upstream_id,
		       duration_seconds::text as duration_seconds,
		       watermark_url,
		       expires_at
		from klingwatch.outputs
		where task = @task
		order by kind, position`,
		pgx.StrictNamedArgs{"task": task})
}
