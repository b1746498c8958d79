-- no transaction
-- The indexes of kept files, and the checks of rows from before them, while tasks end.

create unique index concurrently if not exists outputs_archive_id on klingwatch.outputs (archive_id) where archive_id is not null;

-- What waits to be fetched is little, and is looked for all the time.
create index concurrently if not exists outputs_to_archive on klingwatch.outputs (expires_at, archive_id) where archive_state = 'pending';

-- Before a file is removed it is asked whether a row uses it.
create index concurrently if not exists outputs_archive_key on klingwatch.outputs (archive_key) where archive_key is not null;

-- What was stored long ago is found where KLINGWATCH_ARCHIVE_RETENTION is set.
create index concurrently if not exists outputs_archived_at on klingwatch.outputs using brin (archived_at) with (autosummarize = on, pages_per_range = 16);

alter table klingwatch.tasks validate constraint "callback_events: task.submitted, task.processing, task.archived, task.archive_failed";

alter table klingwatch.outputs validate constraint "archive_state: pending, stored, lost or skipped";

alter table klingwatch.outputs validate constraint "archive_id: set when the file is asked for";

alter table klingwatch.outputs validate constraint "archive_key: with bytes, sha256 and archived_at of a stored file, and no other";
