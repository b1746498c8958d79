-- What a backend app inserts, what klingwatch found out, and what it tells.
-- Constraint names are sentences: Postgres prints them when it refuses a row.

create table klingwatch.tasks (
    id                  bigint generated always as identity primary key,
    task_id             text not null
        constraint "task_id: 1 to 255 characters, no space, not . or .."
        check (char_length(task_id) between 1 and 255 and task_id !~ '[[:space:][:cntrl:]]' and task_id not in ('.', '..')),
    action              text not null
        constraint "action: 1 to 64 lower-case letters, digits and -"
        check (char_length(action) between 1 and 64 and action !~ '[^a-z0-9-]'),
    action2             text not null
        constraint "action2: lower-case letters, digits and -, at most one /"
        check (char_length(action2) between 1 and 128 and action2 !~ '[^a-z0-9/-]|/.*/|^/|/$'),
    external_id         text
        constraint "external_id: 1 to 255 characters"
        check (char_length(external_id) between 1 and 255),
    callback_url        text
        constraint "callback_url: absolute http(s) URL, no user or fragment"
        check (callback_url ~* '^https?://[^[:space:]/?#@\\]+([/?][^[:space:]#]*)?$' and char_length(callback_url) <= 2048),
    metadata            jsonb not null default '{}'
        constraint "metadata: a JSON object of at most 16 kB"
        check (jsonb_typeof(metadata) = 'object' and octet_length(metadata::text) <= 16384),
    status              text not null default 'pending'
        constraint "status: one of the eight words of klingwatch"
        check (status in ('pending', 'submitted', 'processing', 'succeeded', 'failed', 'expired', 'not_found', 'canceled')),
    upstream_status     text,
    status_message      text not null default '',
    error_code          text,
    request_id          text,
    result              jsonb,
    unit_deduction      numeric,
    polls               int not null default 0,
    last_error          text,
    last_polled_at      timestamptz,
    created_at          timestamptz not null default now(),
    submitted_at        timestamptz,
    processing_at       timestamptz,
    upstream_created_at timestamptz,
    upstream_updated_at timestamptz,
    deadline_at         timestamptz
        constraint "deadline_at: a finite time" check (isfinite(deadline_at)),
    finished_at         timestamptz,
    late_checks_until   timestamptz,
    constraint "finished_at: set exactly when the status is terminal"
        check ((finished_at is null) = (status in ('pending', 'submitted', 'processing'))),
    constraint "task_id, action, action2: this task is tracked already" unique (task_id, action, action2)
) with (fillfactor = 75);

-- By columns that change once, not by status: a status change of an open task touches no index.
create index tasks_open on klingwatch.tasks (id) where finished_at is null;
create index tasks_late on klingwatch.tasks (id) where late_checks_until is not null;
create index tasks_external_id on klingwatch.tasks (external_id) where external_id is not null;

comment on table klingwatch.tasks is 'One row per generation task at the relay; inserting a row is the whole integration. The truth about a task: river_job is disposable.';
comment on column klingwatch.tasks.id is 'our id; also the id of the webhook''s data';
comment on column klingwatch.tasks.task_id is 'the provider''s id, opaque; 1 to 255 characters';
comment on column klingwatch.tasks.action is 'first part of the query path: images, videos, audio, general';
comment on column klingwatch.tasks.action2 is 'second part of the query path, as at creation: text2video, generations, avatar/image2video';
comment on column klingwatch.tasks.external_id is 'the caller''s own reference, free text';
comment on column klingwatch.tasks.callback_url is 'receives the terminal event of this task; absolute http(s) URL';
comment on column klingwatch.tasks.metadata is 'JSON object of the caller, handed back in every webhook; at most 16 kB, since receivers limit bodies';
comment on column klingwatch.tasks.status is 'pending (never answered yet), submitted, processing; terminal: succeeded, failed (the provider said so), expired (we stopped looking), not_found, canceled (the user stopped tracking)';
comment on column klingwatch.tasks.upstream_status is 'status word of the last recorded reply, as received';
comment on column klingwatch.tasks.status_message is 'why the task is in this status, for people; the provider''s words for failed';
comment on column klingwatch.tasks.error_code is 'the relay''s code of the last recorded reply where it is not a success code';
comment on column klingwatch.tasks.request_id is 'the relay''s request id of the last recorded reply';
comment on column klingwatch.tasks.result is 'last recorded body as received, unknown fields included';
comment on column klingwatch.tasks.unit_deduction is 'units charged by the provider';
comment on column klingwatch.tasks.polls is 'times the relay was asked, as of the last write (polls that change nothing are not written)';
comment on column klingwatch.tasks.last_error is 'what went wrong with the last poll; null when it was answered';
comment on column klingwatch.tasks.last_polled_at is 'time of the last recorded poll';
comment on column klingwatch.tasks.created_at is 'insertion of the row';
comment on column klingwatch.tasks.submitted_at is 'first seen submitted';
comment on column klingwatch.tasks.processing_at is 'first seen processing';
comment on column klingwatch.tasks.upstream_created_at is 'creation by the provider''s clock';
comment on column klingwatch.tasks.upstream_updated_at is 'last change by the provider''s clock';
comment on column klingwatch.tasks.deadline_at is 'a task that has not ended by then becomes expired; null until the first write: created_at + KLINGWATCH_TASK_DEADLINE';
comment on column klingwatch.tasks.finished_at is 'when a terminal status was written';
comment on column klingwatch.tasks.late_checks_until is 'an expired task is asked again, rarely, until then; null otherwise';

create table klingwatch.outputs (
    task             bigint not null references klingwatch.tasks (id) on delete cascade,
    kind             text not null check (kind in ('image', 'video', 'audio')),
    position         int not null check (position >= 0),
    url              text not null,
    upstream_id      text,
    duration_seconds numeric,
    watermark_url    text,
    expires_at       timestamptz,
    primary key (task, kind, position)
);

comment on table klingwatch.outputs is 'The files of a succeeded task.';
comment on column klingwatch.outputs.task is 'tasks.id';
comment on column klingwatch.outputs.kind is 'image, video or audio';
comment on column klingwatch.outputs.position is 'order within the kind, from 0';
comment on column klingwatch.outputs.url is 'where the file can be fetched, until expires_at';
comment on column klingwatch.outputs.upstream_id is 'the provider''s id of the file';
comment on column klingwatch.outputs.duration_seconds is 'length of a video or audio in seconds';
comment on column klingwatch.outputs.watermark_url is 'the same file with a watermark';
comment on column klingwatch.outputs.expires_at is 'when the provider clears the file: 30 days after the task finished (documented by the vendor); relays may keep it shorter';

create table klingwatch.events (
    id         bigint generated always as identity primary key,
    event_id   text not null unique,
    task       bigint not null references klingwatch.tasks (id) on delete cascade,
    sequence   int not null check (sequence >= 1),
    type       text not null,
    payload    jsonb not null,
    created_at timestamptz not null default now(),
    unique (task, sequence)
);

comment on table klingwatch.events is 'Every status change, once; written in the transaction of the change.';
comment on column klingwatch.events.id is 'cursor of the feed';
comment on column klingwatch.events.event_id is 'the webhook-id header: the same on every delivery and retry';
comment on column klingwatch.events.task is 'tasks.id';
comment on column klingwatch.events.sequence is 'order within the task, from 1';
comment on column klingwatch.events.type is 'task.submitted, task.processing, task.succeeded, task.failed, task.expired, task.not_found, task.canceled';
comment on column klingwatch.events.payload is 'the webhook body; its text is what is signed and sent';
comment on column klingwatch.events.created_at is 'time of the change';
