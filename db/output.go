package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// Output is a row of klingwatch.outputs: a file of a task that succeeded.
type Output struct {
	Task            int64        `json:"task"`
	Kind            string       `json:"kind"`     // image, video or audio
	Position        int          `json:"position"` // within the kind, from 0
	URL             string       `json:"url"`
	UpstreamID      *string      `json:"upstream_id"`
	DurationSeconds *json.Number `json:"duration_seconds"`
	WatermarkURL    *string      `json:"watermark_url"`
	ExpiresAt       *time.Time   `json:"expires_at"` // when the provider deletes it; nil: unknown
	NeedsKey        bool         `json:"needs_key"`  // it answers only with the relay\'s key
}

// RemoveOutputs deletes the outputs that earlier verdicts gave to tasks.
func RemoveOutputs(ctx context.Context, q Querier, tasks []int64) error {
	_, err := q.Exec(ctx, `delete from klingwatch.outputs where task = any (@tasks)`, pgx.StrictNamedArgs{"tasks": tasks})
	return err
}

// AddOutputs writes the outputs of tasks.
func AddOutputs(ctx context.Context, q Querier, outputs []Output) error {
	if len(outputs) == 0 {
		return nil
	}
	input, err := json.Marshal(outputs)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		insert into klingwatch.outputs (task, kind, position, url, upstream_id, duration_seconds, watermark_url, expires_at, needs_key)
		select task, kind, position, url, upstream_id, duration_seconds, watermark_url, expires_at, coalesce(needs_key, false)
		from jsonb_to_recordset(@outputs::jsonb) as o(
		     task bigint, kind text, position int, url text, upstream_id text, duration_seconds numeric,
		     watermark_url text, expires_at timestamptz, needs_key boolean)`,
		pgx.StrictNamedArgs{"outputs": input})
	return err
}

// OutputsOfTask returns a task's outputs by kind and position.
func OutputsOfTask(ctx context.Context, q Querier, task int64) ([]Output, error) {
	return all[Output](ctx, q, `
		select task,
		       kind,
		       position,
		       url,
		       upstream_id,
		       duration_seconds::text as duration_seconds,
		       watermark_url,
		       expires_at,
		       needs_key
		from klingwatch.outputs
		where task = @task
		order by kind, position`,
		pgx.StrictNamedArgs{"task": task})
}

// Expiring counts the files that the provider deletes soon.
type Expiring struct {
	Outputs int64
	Tasks   int64
	First   *time.Time // nil: no file does
}

// ExpiringOutputs counts the files that the provider deletes within a time from now.
func ExpiringOutputs(ctx context.Context, q Querier, within time.Duration) (Expiring, error) {
	return one[Expiring](ctx, q, `
		select count(*) as outputs,
		       count(distinct task) as tasks,
		       min(expires_at) as first
		from klingwatch.outputs
		where expires_at between now() and now() + @within::interval`,
		pgx.StrictNamedArgs{"within": within})
}
