-- Receivers choose more and are watched, attempts tell more, deliveries can be made again.

alter table klingwatch.webhook_endpoints
    drop constraint "event_types: at least one, known words only",
    add constraint "event_types: at least one, known words only"
        check (cardinality(event_types) > 0 and event_types <@ array['task.submitted', 'task.processing', 'task.succeeded', 'task.failed', 'task.expired', 'task.not_found', 'task.canceled', 'endpoint.failing', 'endpoint.disabled']),
    add column actions text[] not null default '{}'
        constraint "actions: like videos or videos/text2video"
        check (array_to_string(actions, ',', '*') !~ '[^a-z0-9/,-]'),
    add column thin boolean not null default false,
    add column failing_since timestamptz,
    add column last_error text,
    add column last_failed_at timestamptz,
    add column failures int not null default 0,
    add column warned_at timestamptz,
    add column revision int not null default 1;

comment on column klingwatch.webhook_endpoints.actions is 'tasks that this receiver asked for, by action or action/action2; empty: all';
comment on column klingwatch.webhook_endpoints.thin is 'its webhooks hold ids and status only';
comment on column klingwatch.webhook_endpoints.failing_since is 'first failure after its last 2xx; null while it works';
comment on column klingwatch.webhook_endpoints.last_error is 'what went wrong last, noted once a minute; null while it works';
comment on column klingwatch.webhook_endpoints.last_failed_at is 'when it failed last, noted once a minute; null while it works';
comment on column klingwatch.webhook_endpoints.failures is 'minutes with failures since failing_since';
comment on column klingwatch.webhook_endpoints.revision is 'grows when it is edited or enabled: what is known of its failures is forgotten then';
comment on column klingwatch.webhook_endpoints.warned_at is 'when endpoint.failing was told of this row of failures';
comment on column klingwatch.webhook_endpoints.disabled_reason is 'who or what disabled it: a person, the receiver itself, or failing for days';

-- An event about a receiver has no task.
alter table klingwatch.events
    alter column task drop not null,
    alter column sequence drop not null,
    add constraint "sequence: counts the events of a task" check ((task is null) = (sequence is null));

comment on column klingwatch.events.task is 'tasks.id; null for the events about a receiver';
comment on column klingwatch.events.sequence is 'order within the task, from 1; null for the events about a receiver';
comment on column klingwatch.events.type is 'task.submitted, task.processing, task.succeeded, task.failed, task.expired, task.not_found, task.canceled; endpoint.failing, endpoint.disabled';

alter table klingwatch.signing_keys
    drop constraint signing_keys_secret_check,
    add constraint "secret: whsec_, whsk_ or encrypted" check (secret ~ '^(whsec|whsk|enc)_'),
    add column version text not null default 'v1' check (version in ('v1', 'v1a'));

drop index klingwatch.signing_keys_current;
create unique index signing_keys_current on klingwatch.signing_keys (coalesce(endpoint, 0), version) where expires_at is null;

comment on table klingwatch.signing_keys is 'Keys that sign webhooks (Standard Webhooks v1 and v1a). Not readable by klingwatch_reader.';
comment on column klingwatch.signing_keys.endpoint is 'webhook_endpoints.id; null: the deployment''s key, v1 for callback_url, v1a for all';
comment on column klingwatch.signing_keys.secret is 'v1: whsec_ and base64 of 32 random bytes; v1a: whsk_ and base64 of an ed25519 key; enc_ and its key''s id where KLINGWATCH_ENCRYPTION_KEY is set';
comment on column klingwatch.signing_keys.version is 'v1 (HMAC-SHA256) or v1a (ed25519)';

alter table klingwatch.deliveries
    add column last_error text,
    add column held_since timestamptz,
    add column tries_before int not null default 0,
    add column tries_since timestamptz not null default now();

comment on column klingwatch.deliveries.attempts is 'requests made so far, all rows of delivery_attempts';
comment on column klingwatch.deliveries.last_error is 'why the last attempt failed, or why none is made; null when delivered';
comment on column klingwatch.deliveries.held_since is 'since when it is not sent because its receiver keeps failing or asked to slow down; null else';
comment on column klingwatch.deliveries.tries_before is 'attempts minus this is the place in the schedule: a redelivery begins it anew, an hour held back counts as one';
comment on column klingwatch.deliveries.tries_since is 'when the schedule began: the event, the enabling of its endpoint, or the last redelivery';
comment on column klingwatch.deliveries.state is 'pending, delivered (a 2xx came back), exhausted (gave up), canceled (a person or the receiver stopped it)';

update klingwatch.delivery_attempts set finished_at = started_at where finished_at is null;
alter table klingwatch.delivery_attempts
    alter column finished_at set not null,
    add column remote_addr text,
    add column dns_seconds real,
    add column connect_seconds real,
    add column tls_seconds real,
    add column first_byte_seconds real;

comment on table klingwatch.delivery_attempts is 'One row per request, written together with the delivery''s new state. A request that was cut off by kill -9 has none, and is made again.';
comment on column klingwatch.delivery_attempts.started_at is 'just before the request; its webhook-timestamp';
comment on column klingwatch.delivery_attempts.finished_at is 'when the answer was read';
comment on column klingwatch.delivery_attempts.response_body is 'first 4096 bytes of the receiver''s answer';
comment on column klingwatch.delivery_attempts.remote_addr is 'address and port that answered; null when there was no connection';
comment on column klingwatch.delivery_attempts.dns_seconds is 'name resolution; null on a connection that was open already';
comment on column klingwatch.delivery_attempts.connect_seconds is 'TCP connect; null on a connection that was open already';
comment on column klingwatch.delivery_attempts.tls_seconds is 'TLS handshake; null without one';
comment on column klingwatch.delivery_attempts.first_byte_seconds is 'from the start to the first byte of the answer; null when none came';

-- A bulk redelivery is a row and its job: it goes on after a crash.
create table klingwatch.redeliveries (
    id          bigint generated always as identity primary key,
    endpoint    bigint references klingwatch.webhook_endpoints (id) on delete cascade,
    since       timestamptz not null,
    until       timestamptz not null,
    states      text[] not null
        constraint "states: delivered, exhausted, canceled" check (cardinality(states) > 0 and states <@ array['delivered', 'exhausted', 'canceled']),
    per_second  int not null check (per_second between 1 and 500),
    matched     bigint not null,
    redelivered bigint not null default 0,
    position    bigint not null default 0,
    last        bigint not null,
    created_at  timestamptz not null default now(),
    finished_at timestamptz
);

comment on table klingwatch.redeliveries is 'Bulk redeliveries, see klingwatch deliveries redeliver.';
comment on column klingwatch.redeliveries.id is 'number of the redelivery';
comment on column klingwatch.redeliveries.endpoint is 'webhook_endpoints.id; null: all receivers, callbacks included';
comment on column klingwatch.redeliveries.since is 'deliveries created at this time or later';
comment on column klingwatch.redeliveries.until is 'deliveries created before this time';
comment on column klingwatch.redeliveries.states is 'deliveries in these states';
comment on column klingwatch.redeliveries.per_second is 'deliveries made due again per second';
comment on column klingwatch.redeliveries.matched is 'deliveries chosen when it began';
comment on column klingwatch.redeliveries.redelivered is 'deliveries made due again so far';
comment on column klingwatch.redeliveries.position is 'deliveries up to this id are done';
comment on column klingwatch.redeliveries.last is 'deliveries after this id came later and are not chosen';
comment on column klingwatch.redeliveries.created_at is 'when it was asked for';
comment on column klingwatch.redeliveries.finished_at is 'null while under way';

-- A delivery of a disabled endpoint waits without a job.
create function klingwatch.enqueue_due() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    insert into klingwatch.river_job (kind, queue, args, max_attempts, unique_key, unique_states)
    select 'deliver', klingwatch.job_queue('deliver', id), jsonb_build_object('id', id), 32767, klingwatch.job_key('deliver', id), b'11110001'
    from inserted
    where next_attempt_at is not null;
    perform klingwatch.wake_workers('deliver', (select array_agg(id) from inserted where next_attempt_at is not null));
    return null;
end
$$;

comment on function klingwatch.enqueue_due() is 'Trigger: a River job for each inserted delivery that is due.';
revoke all on function klingwatch.enqueue_due() from public;

drop trigger enqueue on klingwatch.deliveries;
create trigger enqueue after insert on klingwatch.deliveries
    referencing new table as inserted for each statement execute function klingwatch.enqueue_due();

-- The planner must notice when many jobs are scheduled that were not before: River's scheduler is quadratic without.
alter table klingwatch.river_job set (autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 1000);

create trigger enqueue after insert on klingwatch.redeliveries
    referencing new table as inserted for each statement execute function klingwatch.enqueue('redeliver');
