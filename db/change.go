package db

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// PollTarget is what a poll needs to know of its task.
type PollTarget struct {
	ID             int64
	Relay          string
	Version        int // of the row; a change that was decided on it is made only while the row has it
	TaskID         string
	Action         string
	Action2        string
	Status         string
	UpstreamStatus string // "" before the first recorded reply
	LastError      string // "" when the last recorded poll was answered
	Polls          int
	CreatedAt      time.Time
	Age            time.Duration // since the insertion, by the database's clock
	Left           time.Duration // until the deadline; negative when it has passed
	Ended          time.Duration // since it became terminal; 0 while it is open
	EndedBy        string        // "" while it is open
	LateChecks     bool          // it has ended, but not by the provider's word, and is asked again
}

// PollTargets reads tasks for polling, in no particular order. deadline is the age
// at which a task expires that has no deadline of its own. Ids that do not exist
// are left out.
func PollTargets(ctx context.Context, q Querier, ids []int64, deadline time.Duration) ([]PollTarget, error) {
	return all[PollTarget](ctx, q, `
		select`+pollTargetColumns+`
		where id = any (`+idsByKey+`)`,
		pgx.StrictNamedArgs{"ids": ids, "deadline": deadline})
}

// pollTargetColumns are the columns of PollTarget; they take the parameter @deadline.
const pollTargetColumns = ` id,
		       relay,
		       version,
		       task_id,
		       action,
		       action2,
		       status,
		       coalesce(upstream_status, '') as upstream_status,
		       coalesce(last_error, '') as last_error,
		       polls,
		       created_at,
		       clock_timestamp() - created_at as age,
		       -- a Go duration holds 292 years, a deadline may be further away
		       make_interval(secs => least(1e9, greatest(-1e9, extract(epoch from
		           coalesce(deadline_at, created_at + @deadline::interval)) - extract(epoch from clock_timestamp()))::float8)) as left,
		       coalesce(clock_timestamp() - finished_at, '0') as ended,
		       coalesce(ended_by, klingwatch.ender_of(status), '') as ended_by,
		       coalesce(late_checks_until > clock_timestamp(), false) as late_checks
		from klingwatch.tasks`

// CalledTask is a task that a callback is about.
type CalledTask struct {
	ID     int64
	Status string
	Open   bool // it is asked about; else the provider's last word is known
}

// CalledTasks returns the tasks of a relay that a callback is about, which names them by
// one of these ids.
func CalledTasks(ctx context.Context, q Querier, relay string, taskIDs []string) ([]CalledTask, error) {
	return all[CalledTask](ctx, q, `
		select id,
		       status,
		       finished_at is null or coalesce(late_checks_until > now(), false) as open
		from klingwatch.tasks
		where relay = @relay and task_id = any (@task_ids)
		limit 100`,
		pgx.StrictNamedArgs{"relay": relay, "task_ids": taskIDs})
}

// UnaskedTargets returns open tasks of other relays than the ones that are asked, whose
// deadline passed longer than grace ago, at most limit of them.
func UnaskedTargets(ctx context.Context, q Querier, asked []string, deadline, grace time.Duration, limit int) ([]PollTarget, error) {
	return all[PollTarget](ctx, q, `
		select`+pollTargetColumns+`
		where finished_at is null
		  and relay <> all (@asked)
		  and coalesce(deadline_at, created_at + @deadline::interval) < now() - @grace::interval
		limit @limit`,
		pgx.StrictNamedArgs{"asked": asked, "deadline": deadline, "grace": grace, "limit": limit})
}

// GetPollTarget is PollTargets for one task. It returns ErrNotFound for an unknown
// id.
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

// LockedTasks returns those of the tasks whose rows other transactions have locked now.
func LockedTasks(ctx context.Context, q Querier, ids []int64) ([]int64, error) {
	rows, err := q.Query(ctx, `
		with free as materialized (
			select id from klingwatch.tasks where id = any (`+idsByKey+`) for no key update skip locked
		)
		select id from klingwatch.tasks where id = any (`+idsByKey+`) and id not in (select id from free)`,
		pgx.StrictNamedArgs{"ids": ids})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// Trouble says why a poll brought no news of a task.
type Trouble struct {
	Task    int64     `json:"task"`
	Created time.Time `json:"created"` // of the row that the poll was made for
	Version int       `json:"version"` // of that row
	Error   string    `json:"error"`   // "": the relay answers again
	Polls   int       `json:"polls"`   // times the relay was asked
}

var troubleFields = newColumns[Trouble]("task bigint, created timestamptz, version int, error text, polls int")

// RecordTroubles writes why polls of tasks brought no news, by compare-and-set: a
// task that was written since its version was read is left alone. It returns the
// tasks that it wrote.
func RecordTroubles(ctx context.Context, q Querier, troubles []Trouble) (recorded []int64, err error) {
	rows, err := q.Query(ctx, `
		update klingwatch.tasks t
		set last_error = nullif(n.error, ''),
		    polls = greatest(t.polls, n.polls),
		    last_polled_at = now(),
		    version = t.version + 1
		from `+troubleFields.as("n")+`
		where t.id = n.task and t.created_at = n.created and t.version = n.version
		returning t.id`,
		troubleFields.arrays(troubles))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// Change is a task's new state. A nil pointer keeps what is there, unless the field
// says otherwise.
type Change struct {
	Task              int64           `json:"task"`
	From              string          `json:"-"`       // the status that the decision was made on
	Created           time.Time       `json:"created"` // of the row that the decision was made on
	Version           int             `json:"version"` // of that row
	Status            string          `json:"status"`  // the new one, which may be the same
	StatusMessage     string          `json:"status_message"`
	UpstreamStatus    *string         `json:"upstream_status"`
	ErrorCode         *string         `json:"error_code"` // nil: the reply had none
	RequestID         *string         `json:"request_id"`
	Result            json.RawMessage `json:"result,omitempty"`
	UnitDeduction     *string         `json:"unit_deduction"` // a decimal number
	Polls             int             `json:"polls"`
	UpstreamCreatedAt *time.Time      `json:"upstream_created_at"`
	UpstreamUpdatedAt *time.Time      `json:"upstream_updated_at"`
	LastError         *string         `json:"last_error"` // nil: the relay answered
	Polled            bool            `json:"polled"`     // false for a change that no poll brought: expired, canceled
	Deadline          time.Duration   `json:"-"`          // the age at which a task expires that has no deadline of its own
	DeadlineSeconds   float64         `json:"deadline"`   // set by ApplyChanges
	EndedBy           *string         `json:"ended_by"`   // nil: it is open
	LateChecks        time.Duration   `json:"-"`          // how long the relay is asked again about an expired task; 0: not at all
	LateSeconds       float64         `json:"late"`       // set by ApplyChanges
}

// Changed is what ApplyChanges found when it wrote a Change.
type Changed struct {
	Task        int64
	Relay       string
	TaskID      string
	Action      string
	Action2     string
	ExternalID  *string
	Metadata    json.RawMessage
	CallbackURL *string
	CreatedAt   time.Time
	ChangedAt   time.Time  // now, by the database
	FinishedAt  *time.Time // nil unless terminal
	EventType   string     // of the event about the change
	Sequence    int        // of that event among all of the task
	Number      int        // of that event among those of its type
}

// changeFields has the number as text: Postgres judges it.
var changeFields = newColumns[Change](`task bigint, created timestamptz, version int, status text, status_message text, upstream_status text, error_code text,
	request_id text, result jsonb, unit_deduction text, polls int, upstream_created_at timestamptz, upstream_updated_at timestamptz, last_error text,
	polled bool, deadline float8, ended_by text, late float8`)

// ApplyChanges writes changes by compare-and-set and returns those that took
// place, in no particular order. A task that was written since its version was
// read is left alone and not returned.
func ApplyChanges(ctx context.Context, q Querier, changes []Change) ([]Changed, error) {
	for i := range changes {
		changes[i].DeadlineSeconds = changes[i].Deadline.Seconds()
		changes[i].LateSeconds = changes[i].LateChecks.Seconds()
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
		    unit_deduction = coalesce(c.unit_deduction::numeric, t.unit_deduction),
		    polls = greatest(t.polls, c.polls),
		    upstream_created_at = coalesce(c.upstream_created_at, t.upstream_created_at),
		    upstream_updated_at = coalesce(c.upstream_updated_at, t.upstream_updated_at),
		    last_error = c.last_error,
		    last_polled_at = case when c.polled then now() else t.last_polled_at end,
		    submitted_at = case when c.status = 'submitted' then coalesce(t.submitted_at, now()) else t.submitted_at end,
		    processing_at = case when c.status = 'processing' then coalesce(t.processing_at, now()) else t.processing_at end,
		    deadline_at = coalesce(t.deadline_at, t.created_at + make_interval(secs => c.deadline)),
		    ended_by = c.ended_by,
		    ended_as = klingwatch.ended_as(c.status),
		    late = t.late or t.finished_at is not null and t.status <> c.status,
		    finished_at = case when c.status not in ('pending', 'submitted', 'processing') then case when t.status = c.status then t.finished_at else now() end end,
		    late_checks_until = case when c.late > 0 then now() + make_interval(secs => c.late) end
		from `+changeFields.as("c")+`
		where t.id = c.task and t.created_at = c.created and t.version = c.version
		returning`+changedColumns("'task.' || t.status"),
		changeFields.arrays(changes))
}

// changedColumns are the columns of Changed, of the task t and its next event, of a type.
func changedColumns(eventType string) string {
	return `
		       t.id as task,
		       t.relay,
		       t.task_id,
		       t.action,
		       t.action2,
		       t.external_id,
		       t.metadata,
		       t.callback_url,
		       t.created_at,
		       now() as changed_at,
		       t.finished_at,
		       ` + eventType + ` as event_type,
		       1 + coalesce((select max(e.sequence) from klingwatch.events e where e.task = t.id), 0) as sequence,
		       1 + (select count(*) from klingwatch.events e where e.task = t.id and e.type = ` + eventType + `) as number`
}

// VersionsOf returns the versions of tasks by their ids. Ids that do not exist are left
// out.
func VersionsOf(ctx context.Context, q Querier, ids []int64) (map[int64]int, error) {
	rows, err := all[struct {
		ID      int64
		Version int
	}](ctx, q, `select id, version from klingwatch.tasks where id = any (`+idsByKey+`)`, pgx.StrictNamedArgs{"ids": ids})
	versions := make(map[int64]int, len(rows))
	for _, row := range rows {
		versions[row.ID] = row.Version
	}
	return versions, err
}

// changedTopic is the channel for the ids of tasks that a person changed.
const changedTopic = "klingwatch.tasks"

// ListenForChanges subscribes a connection to the ids that NotifyChange sends.
func ListenForChanges(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `listen "`+changedTopic+`"`)
	return err
}

// callNote is the beginning of the note that a callback came for a task; its id follows.
const callNote = "callback "

// ReadCall returns the task that a callback came for, from a note on the channel of
// changes; false where it says no such thing.
func ReadCall(note string) (task int64, ok bool) {
	id, ok := strings.CutPrefix(note, callNote)
	if !ok {
		return 0, false
	}
	task, err := strconv.ParseInt(id, 10, 64)
	return task, err == nil
}

// NotifyChange has the processes that watch tasks look at their rows, once the
// transaction has committed.
func NotifyChange(ctx context.Context, q Querier, ids ...int64) error {
	_, err := q.Exec(ctx, `select pg_notify(@topic, id::text) from unnest(@ids::bigint[]) as id`, pgx.StrictNamedArgs{"topic": changedTopic, "ids": ids})
	return err
}
