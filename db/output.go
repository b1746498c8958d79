package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/lookback"
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
	NeedsKey        bool         `json:"needs_key"`  // it answers only with the relay's key
	KeptFile
}

// KeptFile is what is known of the file of an output in the archive.
type KeptFile struct {
	ArchiveState    *string    `json:"archive_state"` // ArchivePending and so on; nil: it was not asked for
	ArchiveKey      *string    `json:"archive_key"`   // its name in the store; nil unless it is stored, as Bytes and SHA256
	Bytes           *int64     `json:"bytes"`
	SHA256          *string    `json:"sha256" db:"sha256"` // hex
	ContentType     *string    `json:"content_type"`
	Width           *int       `json:"width"` // nil: unknown, or an audio
	Height          *int       `json:"height"`
	ThumbnailKey    *string    `json:"thumbnail_key"` // nil: there is none
	ArchivedAt      *time.Time `json:"archived_at"`
	ArchiveAttempts int        `json:"archive_attempts"`
	ArchiveError    *string    `json:"archive_error"` // of the last try; nil when it is stored
}

// outputColumns are the columns of Output, of the outputs o.
const outputColumns = `
		       o.task,
		       o.kind,
		       o.position,
		       o.url,
		       o.upstream_id,
		       o.duration_seconds::text as duration_seconds,
		       o.watermark_url,
		       o.expires_at,
		       o.needs_key,
		       o.archive_state,
		       o.archive_key,
		       o.bytes,
		       o.sha256,
		       o.content_type,
		       o.width,
		       o.height,
		       o.thumbnail_key,
		       o.archived_at,
		       o.archive_attempts,
		       o.archive_error`

// RemoveOutputs deletes the outputs that earlier verdicts gave to tasks, but for those whose
// files are stored: what was paid for stays, whatever the task is said to be now.
func RemoveOutputs(ctx context.Context, q Querier, tasks []int64) error {
	_, err := q.Exec(ctx, `delete from klingwatch.outputs where task = any (@tasks) and archive_state is distinct from 'stored'`, pgx.StrictNamedArgs{"tasks": tasks})
	return err
}

// outputFields has the number as text: Postgres judges it.
var outputFields = newColumns[Output]("task bigint, kind text, position int, url text, upstream_id text, duration_seconds text, watermark_url text, expires_at timestamptz, needs_key bool")

// AddOutputs writes the outputs of tasks. With archive their files are to be kept, unless
// the task or its relay say otherwise: each gets a job.
func AddOutputs(ctx context.Context, q Querier, outputs []Output, archive bool) error {
	if len(outputs) == 0 {
		return nil
	}
	args := outputFields.arrays(outputs)
	args["archive"] = archive
	_, err := q.Exec(ctx, `
		with news as (
			select o.*, @archive and coalesce(t.archive, r.archive, true) as wanted
			from `+outputFields.as("o")+`
			left join klingwatch.tasks t on t.id = o.task
			left join klingwatch.relays r on r.name = t.relay
		), stored as ( -- their files stay, see RemoveOutputs
			update klingwatch.outputs o
			set url = n.url,
			    watermark_url = n.watermark_url,
			    expires_at = n.expires_at,
			    needs_key = n.needs_key
			from news n
			where o.task = n.task and o.kind = n.kind and o.position = n.position
			returning o.task, o.kind, o.position
		)
		insert into klingwatch.outputs (task, kind, position, url, upstream_id, duration_seconds, watermark_url, expires_at, needs_key, archive_id, archive_state)
		select task, kind, position, url, upstream_id, duration_seconds::numeric, watermark_url, expires_at, needs_key,
		       case when wanted then nextval('klingwatch.archive_ids') end,
		       case when wanted then 'pending' end
		from news
		-- "on conflict" writes 48 bytes more of WAL for each
		where (task, kind, position) not in (select task, kind, position from stored)`,
		args)
	return err
}

// OutputsOfTask returns a task's outputs by kind and position.
func OutputsOfTask(ctx context.Context, q Querier, task int64) ([]Output, error) {
	return OutputsOfTasks(ctx, q, []int64{task})
}

// OutputsOfTasks returns the outputs of tasks by task, kind and position.
func OutputsOfTasks(ctx context.Context, q Querier, tasks []int64) ([]Output, error) {
	return all[Output](ctx, q, `
		select`+outputColumns+`
		from klingwatch.outputs o
		where task = any (@tasks)
		order by task, kind, position`,
		pgx.StrictNamedArgs{"tasks": tasks})
}

// OutputChoice chooses outputs. Zero fields choose all.
type OutputChoice struct {
	Kind     string
	Archive  string     // one of ArchiveStates, or ArchiveNone
	Expiring time.Time  // the provider deletes them before, and has not yet
	Tasks    TaskChoice // of these tasks
}

// ArchiveNone chooses in an OutputChoice the files that were not asked for.
const ArchiveNone = "none"

// ListedOutput is an output with what tells its task from others.
type ListedOutput struct {
	Output
	Relay      string    `json:"relay"`
	App        string    `json:"app"`
	TaskID     string    `json:"task_id"`
	Action     string    `json:"action"`
	Action2    string    `json:"action2"`
	ExternalID *string   `json:"external_id"`
	CreatedAt  time.Time `json:"created_at"` // of the task
}

// listedColumns are the columns of ListedOutput, of the outputs o of tasks t.
const listedColumns = outputColumns + `,
		       t.relay,
		       t.app,
		       t.task_id,
		       t.action,
		       t.action2,
		       t.external_id,
		       t.created_at`

// GetOutput returns an output with what tells its task from others, or ErrNotFound.
func GetOutput(ctx context.Context, q Querier, task int64, kind string, position int) (ListedOutput, error) {
	return one[ListedOutput](ctx, q, `
		select`+listedColumns+`
		from klingwatch.outputs o
		join klingwatch.tasks t on t.id = o.task
		where o.task = @task and o.kind = @kind and o.position = @position`,
		pgx.StrictNamedArgs{"task": task, "kind": kind, "position": position})
}

// ListOutputs returns a page of the outputs of a choice: those of the newest tasks first,
// of a task in their order. Its ids are those of tasks: a page has all outputs of its
// tasks, so that it may have more than Limit, which bounds the tasks.
func ListOutputs(ctx context.Context, b Beginner, c OutputChoice, s lookback.Search) (Page[ListedOutput], error) {
	list := lookback.List[outputsOf]{
		ID: func(t outputsOf) int64 { return t.Task },
		Newest: func(ctx context.Context) (id int64, err error) {
			err = b.QueryRow(ctx, `select coalesce(max(task), 0) from klingwatch.outputs`).Scan(&id)
			return id, err
		},
		Read: c.read(b, ""),
	}
	if c.Tasks.indexed() {
		list.ReadIndexed = list.Read
	}
	if !c.Expiring.IsZero() || c.Archive == ArchivePending {
		list.ReadIndexed = c.read(b, bitmaps)
	}
	found, err := list.Page(ctx, s)
	if err != nil {
		return Page[ListedOutput]{}, err
	}
	p := lookback.Page[ListedOutput]{Next: found.Next, Cut: found.Cut}
	for _, of := range found.Items {
		p.Items = append(p.Items, of.Outputs...)
	}
	return pageOf(ctx, b, p, `select created_at from klingwatch.tasks where id >= @id order by id limit 1`)
}

// outputsOf are the chosen outputs of a task.
type outputsOf struct {
	Task    int64
	Outputs []ListedOutput
}

// chosenOutputs is the condition of an OutputChoice on the outputs o of tasks t.
const chosenOutputs = `
		      (@kind = '' or o.kind = @kind)
		  and (@archive = '' or o.archive_state = @archive or @archive = 'none' and o.archive_state is null)
		  and (@expiring::timestamptz is null or o.expires_at >= now() and o.expires_at < @expiring)`

// read reads the outputs of the newest tasks of a range of ids first.
func (c OutputChoice) read(b Beginner, settings string) func(context.Context, lookback.Range, int, time.Duration) ([]outputsOf, error) {
	return func(ctx context.Context, r lookback.Range, limit int, patience time.Duration) (list []outputsOf, err error) {
		rows, err := limited[ListedOutput](ctx, b, patience, settings, `
			with page as materialized (
				select distinct o.task
				from klingwatch.outputs o
				join klingwatch.tasks t on t.id = o.task
				where o.task >= @low and o.task < @high and`+chosenOutputs+` and`+chosenTasks+`
				order by o.task desc
				limit @limit
			)
			select`+listedColumns+`
			from klingwatch.outputs o
			join klingwatch.tasks t on t.id = o.task
			where o.task = any (array(select task from page)) and`+chosenOutputs+`
			order by o.task desc, o.kind, o.position`,
			c.Tasks.with(pgx.StrictNamedArgs{"kind": c.Kind, "archive": c.Archive, "expiring": optionalTime(c.Expiring), "low": r.From, "high": r.Before, "limit": limit}))
		for _, o := range rows {
			if last := len(list) - 1; last < 0 || list[last].Task != o.Task {
				list = append(list, outputsOf{Task: o.Task})
			}
			of := &list[len(list)-1]
			of.Outputs = append(of.Outputs, o)
		}
		return list, err
	}
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

// CountedOutputs are the outputs of a choice in one archive state.
type CountedOutputs struct {
	State *string // nil: the files were not asked for
	Files int64
	Bytes int64 // of the kept ones
}

// CountOutputs counts the outputs of a choice by archive state.
func CountOutputs(ctx context.Context, q Querier, c OutputChoice) ([]CountedOutputs, error) {
	return all[CountedOutputs](ctx, q, `
		select o.archive_state as state,
		       count(*) as files,
		       coalesce(sum(o.bytes), 0)::bigint as bytes
		from klingwatch.outputs o
		join klingwatch.tasks t on t.id = o.task
		where`+chosenOutputs+` and`+chosenTasks+`
		group by o.archive_state`,
		c.Tasks.with(pgx.StrictNamedArgs{"kind": c.Kind, "archive": c.Archive, "expiring": optionalTime(c.Expiring)}))
}
