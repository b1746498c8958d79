package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// The states of a file that is to be kept: outputs.archive_state.
const (
	ArchivePending = "pending" // it is to be fetched
	ArchiveStored  = "stored"  // it is safe
	ArchiveLost    = "lost"    // it could not be had in time
	ArchiveSkipped = "skipped" // it is larger than what is kept
)

// ArchiveStates are all of them.
var ArchiveStates = []string{ArchivePending, ArchiveStored, ArchiveLost, ArchiveSkipped}

// ArchiveTarget is a file that is to be kept, as its job reads it.
type ArchiveTarget struct {
	ID        int64 // outputs.archive_id
	Task      int64
	Kind      string
	Position  int
	URL       string
	NeedsKey  bool   // it answers only with the relay's key
	State     string // "": it is not to be kept any more
	Attempts  int
	Refreshed bool     // a new URL was asked for
	ExpiresIn *float64 // seconds until the provider deletes it, or has; nil: unknown
	EndedAgo  float64  // seconds since the task ended
	Relay     string
	CreatedAt time.Time // of the task
	Key       *string   // of a file that is stored
	Measured  bool      // it has a thumbnail
}

// GetArchiveTarget returns a file by the number that its job has, or ErrNotFound.
func GetArchiveTarget(ctx context.Context, q Querier, id int64) (ArchiveTarget, error) {
	return one[ArchiveTarget](ctx, q, `
		select o.archive_id as id,
		       o.task,
		       o.kind,
		       o.position,
		       o.url,
		       o.needs_key,
		       coalesce(o.archive_state, '') as state,
		       o.archive_attempts as attempts,
		       o.refreshed_at is not null as refreshed,
		       extract(epoch from o.expires_at - now())::float8 as expires_in,
		       coalesce(extract(epoch from now() - t.finished_at)::float8, 0) as ended_ago,
		       t.relay,
		       t.created_at,
		       o.archive_key as key,
		       o.thumbnail_key is not null as measured
		from klingwatch.outputs o
		join klingwatch.tasks t on t.id = o.task
		where o.archive_id = @id`,
		pgx.StrictNamedArgs{"id": id})
}

// ClaimFile notes that a file is about to be stored under a key, so that it is removed
// where no output uses it a while later. It waits for whoever removes the file of that
// key just now.
func ClaimFile(ctx context.Context, q Querier, key string, unused time.Duration) error {
	_, err := q.Exec(ctx, `
		insert into klingwatch.archive_removals (key, not_before)
		values (@key, now() + @unused::interval)
		on conflict (key) do update set not_before = greatest(archive_removals.not_before, excluded.not_before)`,
		pgx.StrictNamedArgs{"key": key, "unused": unused})
	return err
}

// StoredFile is what is known of a file that is in the store.
type StoredFile struct {
	ID           int64 // outputs.archive_id
	Key          string
	Bytes        int64
	SHA256       string // hex
	ContentType  string
	Width        *int // nil: unknown, or an audio
	Height       *int
	Duration     *float64 // seconds; nil: unknown, or an image
	ThumbnailKey *string  // nil: there is none
}

// RecordStored notes that a file is in the store, and releases the claim on its key. It
// returns ErrNotFound where nobody waits for the file any more, or the claim is gone: the
// file may be removed already.
func RecordStored(ctx context.Context, q Querier, f StoredFile) error {
	return existing(q.Exec(ctx, `
		with unclaimed as (
			delete from klingwatch.archive_removals where key = @key returning key
		)
		update klingwatch.outputs
		set archive_state = 'stored',
		    archive_key = @key,
		    bytes = @bytes,
		    sha256 = @sha256,
		    content_type = @content_type,
		    width = @width,
		    height = @height,
		    duration_seconds = coalesce(duration_seconds, round(@duration::numeric, 3)),
		    thumbnail_key = @thumbnail_key,
		    archived_at = now(),
		    archive_attempts = archive_attempts + 1,
		    archive_error = null
		where archive_id = @id and archive_state = 'pending' and exists (select from unclaimed)`,
		pgx.StrictNamedArgs{
			"id": f.ID, "key": f.Key, "bytes": f.Bytes, "sha256": f.SHA256, "content_type": f.ContentType,
			"width": f.Width, "height": f.Height, "duration": f.Duration, "thumbnail_key": f.ThumbnailKey,
		}))
}

// RecordMeasured notes what was found out about a stored file. It returns ErrNotFound where
// the row does not tell of the file any more.
func RecordMeasured(ctx context.Context, q Querier, f StoredFile) error {
	return existing(q.Exec(ctx, `
		update klingwatch.outputs
		set width = @width,
		    height = @height,
		    duration_seconds = coalesce(duration_seconds, round(@duration::numeric, 3)),
		    thumbnail_key = @thumbnail_key
		where archive_id = @id and archive_state = 'stored' and archive_key = @key`,
		pgx.StrictNamedArgs{"id": f.ID, "key": f.Key, "width": f.Width, "height": f.Height, "duration": f.Duration, "thumbnail_key": f.ThumbnailKey}))
}

// RecordArchiveTrouble notes why a file was not stored: it stays ArchivePending, or is
// ArchiveLost or ArchiveSkipped from now on. It returns ErrNotFound where nobody waits for
// the file any more.
func RecordArchiveTrouble(ctx context.Context, q Querier, id int64, state, reason string) error {
	return existing(q.Exec(ctx, `
		update klingwatch.outputs
		set archive_state = @state,
		    archive_attempts = archive_attempts + 1,
		    archive_error = @reason
		where archive_id = @id and archive_state = 'pending'`,
		pgx.StrictNamedArgs{"id": id, "state": state, "reason": reason}))
}

// RenewURLs writes where the relay has the files of a task now. Files that it does not
// name keep their URLs.
func RenewURLs(ctx context.Context, q Querier, outputs []Output) error {
	input, err := json.Marshal(outputs)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		update klingwatch.outputs o
		set url = n.url,
		    watermark_url = n.watermark_url,
		    expires_at = coalesce(n.expires_at, o.expires_at),
		    needs_key = n.needs_key
		from jsonb_to_recordset(@outputs::jsonb) as n(task bigint, kind text, position int, url text, watermark_url text, expires_at timestamptz, needs_key boolean)
		where o.task = n.task and o.kind = n.kind and o.position = n.position`,
		pgx.StrictNamedArgs{"outputs": input})
	return err
}

// NoteRefreshed notes that the relay was asked for a new URL of a file.
func NoteRefreshed(ctx context.Context, q Querier, id int64) error {
	_, err := q.Exec(ctx, `update klingwatch.outputs set refreshed_at = now() where archive_id = @id`, pgx.StrictNamedArgs{"id": id})
	return err
}

// AskForFiles has the files of tasks kept that were not to be, or were lost, and that the
// provider still has: each gets a job. It returns the tasks that have such files.
func AskForFiles(ctx context.Context, q Querier, tasks []int64) (asked []int64, err error) {
	err = q.QueryRow(ctx, `
		with asked as (
			update klingwatch.outputs o
			set archive_state = 'pending',
			    archive_id = coalesce(archive_id, nextval('klingwatch.archive_ids')),
			    archive_attempts = 0,
			    archive_error = null,
			    refreshed_at = null
			where o.task = any (@tasks) and`+unkept+`
			returning task, archive_id
		)
		select coalesce((select array_agg(distinct task) from asked), '{}')
		from (select klingwatch.give_jobs('archive', (select array_agg(archive_id) from asked))) as given`,
		pgx.StrictNamedArgs{"tasks": tasks}).Scan(&asked)
	return asked, err
}

// ArchiveProgress is how far the files of tasks are.
type ArchiveProgress struct {
	Pending int
	Stored  int
	Missing int // lost, skipped, not asked for, or not kept any more
}

// LockTask locks a task until the end of the transaction: of those who store its last two
// files at once, one sees that they are all there. It returns ErrNotFound.
func LockTask(ctx context.Context, q Querier, task int64) error {
	return existing(q.Exec(ctx, `select from klingwatch.tasks where id = @task for no key update`, pgx.StrictNamedArgs{"task": task}))
}

// GetArchiveProgress counts the files of tasks.
func GetArchiveProgress(ctx context.Context, q Querier, tasks ...int64) (ArchiveProgress, error) {
	return one[ArchiveProgress](ctx, q, `
		select count(*) filter (where archive_state = 'pending') as pending,
		       count(*) filter (where archive_state = 'stored') as stored,
		       count(*) filter (where coalesce(archive_state, '') not in ('pending', 'stored')) as missing
		from klingwatch.outputs
		where task = any (@tasks)`,
		pgx.StrictNamedArgs{"tasks": tasks})
}

// LockRemovable returns a key whose file no output uses and that may be removed, or
// ErrNotFound. It is locked until the end of the transaction, so that nobody stores a file
// under it meanwhile.
func LockRemovable(ctx context.Context, q Querier) (key string, err error) {
	file, err := one[struct{ Key string }](ctx, q, `
		select key
		from klingwatch.archive_removals r
		where not_before <= now()
		  and not exists (select from klingwatch.outputs o where o.archive_key = r.key)
		order by not_before
		limit 1
		for update skip locked`)
	return file.Key, err
}

// ForgetRemovals deletes the notes about files that are used: somebody has written their
// rows by hand.
func ForgetRemovals(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, `
		delete from klingwatch.archive_removals r
		where not_before <= now()
		  and exists (select from klingwatch.outputs o where o.archive_key = r.key)`)
	return err
}

// PostponeRemoval notes that a file could not be removed, and when to try again.
func PostponeRemoval(ctx context.Context, q Querier, key string, wait time.Duration) error {
	_, err := q.Exec(ctx, `update klingwatch.archive_removals set not_before = now() + @wait::interval where key = @key`, pgx.StrictNamedArgs{"key": key, "wait": wait})
	return err
}

// Removed notes that a file is gone from the store.
func Removed(ctx context.Context, q Querier, key string) error {
	_, err := q.Exec(ctx, `delete from klingwatch.archive_removals where key = @key`, pgx.StrictNamedArgs{"key": key})
	return err
}

// ReleaseFiles has files removed from the store that were stored longer ago than older,
// at most limit of them; their rows say so. It returns how many.
func ReleaseFiles(ctx context.Context, q Querier, older time.Duration, limit int) (released int, err error) {
	err = q.QueryRow(ctx, `
		with old as (
			select task, kind, position, archive_key
			from klingwatch.outputs
			where archive_state = 'stored' and archived_at < now() - @older::interval
			limit @limit
			for no key update skip locked
		), noted as (
			insert into klingwatch.archive_removals (key)
			select archive_key from old order by archive_key
			on conflict do nothing
		), gone as (
			update klingwatch.outputs o
			set archive_state = null,
			    archive_key = null,
			    bytes = null,
			    sha256 = null,
			    archived_at = null,
			    thumbnail_key = null,
			    archive_error = 'the file was kept as long as KLINGWATCH_ARCHIVE_RETENTION says'
			from old
			where o.task = old.task and o.kind = old.kind and o.position = old.position
		)
		select count(*) from old`,
		pgx.StrictNamedArgs{"older": older, "limit": limit}).Scan(&released)
	return released, err
}

// EventBasis is what an event tells of a task that has ended, beside its files.
type EventBasis struct {
	Changed
	Status        string
	StatusMessage string
	EndedBy       *string
}

// BasisOf returns what the next event of a type tells of a task, or ErrNotFound.
func BasisOf(ctx context.Context, q Querier, task int64, eventType string) (EventBasis, error) {
	return one[EventBasis](ctx, q, `
		select`+changedColumns("@type::text")+`,
		       t.status,
		       t.status_message,
		       t.ended_by
		from klingwatch.tasks t
		where t.id = @task`,
		pgx.StrictNamedArgs{"task": task, "type": eventType})
}
