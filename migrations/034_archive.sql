-- Files of tasks are kept before the provider deletes them. What is known of a kept file is in the row of the output; a job per output
-- fetches it. The version before knows nothing of it: what it writes is not asked for.

alter table klingwatch.tasks
    add column archive boolean,
    add column callback_events text[] not null default '{}';
alter table klingwatch.tasks
    add constraint "callback_events: task.submitted, task.processing, task.archived, task.archive_failed"
        check (callback_events <@ array['task.submitted', 'task.processing', 'task.archived', 'task.archive_failed']) not valid;

comment on column klingwatch.tasks.archive is 'whether its files are kept; null: as its relay says, or the deployment';
comment on column klingwatch.tasks.callback_events is 'what callback_url gets beside the end of the task: task.submitted, task.processing, task.archived, task.archive_failed';

alter table klingwatch.relays add column archive boolean;
comment on column klingwatch.relays.archive is 'whether the files of its tasks are kept; null: as KLINGWATCH_ARCHIVE says';

create sequence klingwatch.archive_ids;
comment on sequence klingwatch.archive_ids is 'outputs.archive_id';

alter table klingwatch.outputs
    add column archive_id bigint,
    add column archive_state text,
    add column archive_key text,
    add column bytes bigint,
    add column sha256 text,
    add column content_type text,
    add column width int,
    add column height int,
    add column thumbnail_key text,
    add column archived_at timestamptz,
    add column archive_attempts int not null default 0,
    add column archive_error text,
    add column refreshed_at timestamptz;
alter table klingwatch.outputs
    add constraint "archive_state: pending, stored, lost or skipped" check (archive_state in ('pending', 'stored', 'lost', 'skipped')) not valid,
    add constraint "archive_id: set when the file is asked for" check (archive_state is null or archive_id is not null) not valid,
    add constraint "archive_key: with bytes, sha256 and archived_at of a stored file, and no other"
        check ((archive_state = 'stored') is not true and num_nonnulls(archive_key, bytes, sha256, archived_at) = 0
               or archive_state = 'stored' and num_nulls(archive_key, bytes, sha256, archived_at) = 0) not valid;

comment on column klingwatch.outputs.archive_id is 'number of the file in the archive, which its job has; null: it was never asked for';
comment on column klingwatch.outputs.archive_state is 'pending (it is to be fetched), stored (it is safe), lost (it could not be had in time), skipped (it is larger than KLINGWATCH_ARCHIVE_MAX_SIZE); null: it was not asked for';
comment on column klingwatch.outputs.archive_key is 'name of the kept file in the store';
comment on column klingwatch.outputs.bytes is 'size of the kept file';
comment on column klingwatch.outputs.sha256 is 'of the kept file, hex';
comment on column klingwatch.outputs.content_type is 'media type of the kept file, by its content';
comment on column klingwatch.outputs.width is 'of an image or video in pixels; null where unknown';
comment on column klingwatch.outputs.height is 'of an image or video in pixels; null where unknown';
comment on column klingwatch.outputs.thumbnail_key is 'name of the small picture of the file in the store; null: there is none';
comment on column klingwatch.outputs.archived_at is 'when the file was stored';
comment on column klingwatch.outputs.archive_attempts is 'how often the file was fetched, or tried to be';
comment on column klingwatch.outputs.archive_error is 'why the last try failed, or the file is lost or skipped; null when it is stored';
comment on column klingwatch.outputs.refreshed_at is 'when the task was asked for a new URL, since the old one did not work any more';
comment on column klingwatch.outputs.duration_seconds is 'length of a video or audio in seconds: the provider''s word, else that of the kept file';

-- A key is written here before its file is, and taken out with the row that uses the file: so a file that no row uses is found, whatever
-- broke off. Whoever removes the file holds the row meanwhile.
create table klingwatch.archive_removals (
    key        text primary key,
    not_before timestamptz not null default now()
);

comment on table klingwatch.archive_removals is 'Files in the store that no output uses, or not yet: they are removed at their time with their small pictures, unless an output uses them by then.';
comment on column klingwatch.archive_removals.key is 'name of the file in the store';
comment on column klingwatch.archive_removals.not_before is 'when it may be removed';

create index archive_removals_not_before on klingwatch.archive_removals (not_before);

create function klingwatch.enqueue_archive() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    if exists (select from inserted where archive_state = 'pending') then
        perform klingwatch.add_jobs('archive', (select array_agg(archive_id) from inserted where archive_state = 'pending'));
    end if;
    return null;
end
$$;

comment on function klingwatch.enqueue_archive() is 'Trigger: a River job for each inserted output whose file is to be kept.';
revoke all on function klingwatch.enqueue_archive() from public;

create trigger enqueue after insert on klingwatch.outputs
    referencing new table as inserted for each statement execute function klingwatch.enqueue_archive();

create function klingwatch.release_files() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    insert into klingwatch.archive_removals (key)
    select archive_key from deleted
    where archive_key is not null
    order by archive_key
    on conflict do nothing;
    return null;
end
$$;

comment on function klingwatch.release_files() is 'Trigger: the files of outputs that are deleted are to be removed from the store.';
revoke all on function klingwatch.release_files() from public;

create trigger release after delete on klingwatch.outputs
    referencing old table as deleted for each statement execute function klingwatch.release_files();

alter table klingwatch.webhook_endpoints
    drop constraint "event_types: at least one, known words only",
    add constraint "event_types: at least one, known words only"
        check (cardinality(event_types) > 0 and event_types <@ array['task.submitted', 'task.processing', 'task.succeeded', 'task.failed', 'task.expired', 'task.not_found', 'task.canceled',
                                                                     'task.archived', 'task.archive_failed', 'endpoint.failing', 'endpoint.disabled']);
comment on column klingwatch.events.type is 'task.submitted, task.processing, task.succeeded, task.failed, task.expired, task.not_found, task.canceled; task.archived, task.archive_failed; endpoint.failing, endpoint.disabled';

alter table klingwatch.bulk_actions
    drop constraint "action: redeliver, retry or cancel",
    drop constraint "states: at least one, of those that the action changes",
    add constraint "action: redeliver, retry, cancel or archive" check (action in ('redeliver', 'retry', 'cancel', 'archive')),
    add constraint "states: at least one, of those that the action changes" check (cardinality(states) > 0 and states <@ case action
        when 'redeliver' then array['delivered', 'exhausted', 'canceled']
        when 'retry' then array['succeeded', 'failed', 'expired', 'not_found', 'canceled']
        when 'archive' then array['succeeded']
        else array['pending', 'submitted', 'processing'] end);
comment on column klingwatch.bulk_actions.action is 'redeliver (deliveries), retry, cancel or archive (tasks)';

comment on view klingwatch.live_jobs is 'The River job of each row that has one: of tasks (poll), deliveries (deliver), files (archive), bulk actions (bulk).';
comment on column klingwatch.live_jobs.kind is 'poll, deliver, archive, cancel or bulk; redeliver: of a bulk action that an older version began';

create or replace view klingwatch.report_outputs as
select o.task, t.task_id, t.action, t.action2, t.external_id, o.kind, o.position, o.url, o.watermark_url, o.duration_seconds, t.finished_at, o.expires_at,
       round(extract(epoch from o.expires_at - now()) / 86400, 1) as days_until_expiry,
       t.relay, o.needs_key,
       o.archive_state, o.archive_key, o.bytes, o.sha256, o.content_type, o.width, o.height, o.thumbnail_key, o.archived_at, o.archive_attempts, o.archive_error
from klingwatch.outputs o
join klingwatch.tasks t on t.id = o.task;

comment on view klingwatch.report_outputs is 'The files of succeeded tasks, and whether they are kept. To find what expires soon, filter by expires_at: that is indexed.';
comment on column klingwatch.report_outputs.archive_state is 'pending, stored, lost or skipped, as in outputs; null: it was not asked for';
comment on column klingwatch.report_outputs.archive_key is 'name of the kept file in the store';
comment on column klingwatch.report_outputs.bytes is 'size of the kept file';
comment on column klingwatch.report_outputs.sha256 is 'of the kept file, hex';
comment on column klingwatch.report_outputs.content_type is 'media type of the kept file';
comment on column klingwatch.report_outputs.width is 'in pixels; null where unknown';
comment on column klingwatch.report_outputs.height is 'in pixels; null where unknown';
comment on column klingwatch.report_outputs.thumbnail_key is 'name of the small picture of the file in the store';
comment on column klingwatch.report_outputs.archived_at is 'when the file was stored';
comment on column klingwatch.report_outputs.archive_attempts is 'how often the file was fetched, or tried to be';
comment on column klingwatch.report_outputs.archive_error is 'why the last try failed, or the file is lost or skipped';

create function klingwatch.grant_roles_on_archive() returns void
    language plpgsql
as $$
declare
    wanted text;
begin
    if exists (select from pg_roles where rolname = 'klingwatch_producer') then
        grant insert (archive, callback_events) on klingwatch.tasks to klingwatch_producer;
    end if;
    foreach wanted in array array['klingwatch_reader', 'klingwatch_operator'] loop
        continue when not exists (select from pg_roles where rolname = wanted);
        execute format('grant select (archive) on klingwatch.relays to %I', wanted);
    end loop;
end
$$;

comment on function klingwatch.grant_roles_on_archive() is 'The part of grant_roles() about kept files.';
revoke all on function klingwatch.grant_roles_on_archive() from public;

create or replace function klingwatch.grant_roles() returns void
    language sql
as $$
    select klingwatch.grant_roles_on_tasks();
    select klingwatch.grant_roles_on_api();
    select klingwatch.grant_roles_on_archive();
$$;

select klingwatch.grant_roles();
