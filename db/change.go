package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// Change is a task's new state. Pointers that are nil keep what is there.
type Change struct {
	Task              int64           `json:"task"`
	From              string          `json:"-"`       // status that the decision was made on
	Version           int             `json:"version"` // that the decision was made on; a task that has another by now is left alone
	Status            string          `json:"status"`  // may be the one it has
	StatusMessage     string          `json:"status_message"`
	UpstreamStatus    *string         `json:"upstream_status"`
	ErrorCode         *string         `json:"error_code"` // null where the reply had none
	RequestID         *string         `json:"request_id"`
	Result            json.RawMessage `json:"result,omitempty"`
	UnitDeduction     *string         `json:"unit_deduction"` // decimal
	Polls             int             `json:"polls"`
	UpstreamCreatedAt *time.Time      `json:"upstream_created_at"`
	UpstreamUpdatedAt *time.Time      `json:"upstream_updated_at"`
	LastError         *string         `json:"last_error"` // nil: answered
	Polled            bool            `json:"polled"`     // false for changes that no reply brought: expired, canceled
	Deadline          time.Duration   `json:"-"`          // of tasks that have none of their own
	DeadlineSeconds   float64         `json:"deadline"`   // set by ApplyChanges
	LateChecks        time.Duration   `json:"-"`          // how long an expired task is asked again; 0 for other statuses
	LateSeconds       float64         `json:"late"`       // set by ApplyChanges
}

// Changed is what ApplyChanges found when it wrote a Change.
type Changed struct {
	Task        int64
	TaskID      string
	Action      string
	Action2     string
	ExternalID  *string
	Metadata    json.RawMessage
	CallbackURL *string
	CreatedAt   time.Time
	ChangedAt   time.Time  // now, by the database
	FinishedAt  *time.Time // nil unless terminal
	Sequence    int        // of the event that tells of the change
}

// ApplyChanges writes changes by compare-and-set and returns those that took
// place, in no particular order. A task that was written since its version was
// read is left alone and not returned.
func ApplyChanges(ctx context.Context, q Querier, changes []Change) ([]Changed, error) {
	for i := range changes {
		changes[i].DeadlineSeconds = changes[i].Deadline.Seconds()
		changes[i].LateSeconds = changes[i].LateChecks.Seconds()
	}
	input, err := json.Marshal(changes)
	if err != nil {
		return nil, err
	}
	return all[Changed](ctx, q, `
		update klingwatch.tasks t
		set version = t.version + 1,
		    status = c.status,
		    status_message = c.status_message,
		    upstream_status = coalesce(c.upstream_status, t.upstream_status),
		    error_code = c.error_code,
		    request_id = coalesce(c.request_id, t.request_id),
		    result = coalesce(c.result, t.result),
		    unit_deduction = coalesce(c.unit_deduction, t.unit_deduction),
		    polls = greatest(t.polls, c.polls),
		    upstream_created_at = coalesce(c.upstream_created_at, t.upstream_created_at),
		    upstream_updated_at = coalesce(c.upstream_updated_at, t.upstream_updated_at),
		    last_error = c.last_error,
		    last_polled_at = case when c.polled then now() else t.last_polled_at end,
		    submitted_at = case when c.status = 'submitted' then coalesce(t.submitted_at, now()) else t.submitted_at end,
		    processing_at = case when c.status = 'processing' then coalesce(t.processing_at, now()) else t.processing_at end,
		    deadline_at = coalesce(t.deadline_at, t.created_at + make_interval(secs => c.deadline)),
		    finished_at = case when c.status not in ('pending', 'submitted', 'processing') then now() end,
		    late_checks_until = case when c.late > 0 then now() + make_interval(secs => c.late) end
		from jsonb_to_recordset(@changes::jsonb) as c(
		     task bigint, version int, status text, status_message text, upstream_status text, error_code text,
		     request_id text, result jsonb, unit_deduction numeric, polls int, upstream_created_at timestamptz,
		     upstream_updated_at timestamptz, last_error text, polled bool, deadline float8, late float8)
		where t.id = c.task and t.version = c.version
		returning t.id as task,
		          t.task_id,
		          t.action,
		          t.action2,
		          t.external_id,
		          t.metadata,
		          t.callback_url,
		          t.created_at,
		          now() as changed_at,
		          t.finished_at,
		          1 + coalesce((select max(e.sequence) from klingwatch.events e where e.task = t.id), 0) as sequence`,
		pgx.StrictNamedArgs{"changes": input})
}

// Output is a row of klingwatch.outputs.
type Output struct {
	Task            int64        `json:"task"`
	Kind            string       `json:"kind"`
	Position        int          `json:"position"`
	URL             string       `json:"url"`
	UpstreamID      *string      `json:"upstream_id"`
	DurationSeconds *json.Number `json:"duration_seconds"`
	WatermarkURL    *string      `json:"watermark_url"`
	ExpiresAt       *time.Time   `json:"expires_at"`
}

// RemoveOutputs forgets the files of earlier verdicts on tasks.
func RemoveOutputs(ctx context.Context, q Querier, tasks []int64) error {
	_, err := q.Exec(ctx, `delete from klingwatch.outputs where task = any (@tasks)`, pgx.StrictNamedArgs{"tasks": tasks})
	return err
}

// AddOutputs writes the files of tasks that succeeded just now.
func AddOutputs(ctx context.Context, q Querier, outputs []Output) error {
	if len(outputs) == 0 {
		return nil
	}
	input, err := json.Marshal(outputs)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		insert into klingwatch.outputs (task, kind, position, url, upstream_id, duration_seconds, watermark_url, expires_at)
		select task, kind, position, url, upstream_id, duration_seconds, watermark_url, expires_at
		from jsonb_to_recordset(@outputs::jsonb) as o(
		     task bigint, kind text, position int, url text, upstream_id text, duration_seconds numeric,
		     watermark_url text, expires_at timestamptz)`,
		pgx.StrictNamedArgs{"outputs": input})
	return err
}
