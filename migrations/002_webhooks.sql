-- Receivers, deliveries and what every request came to.

create table klingwatch.webhook_endpoints (
    id              bigint generated always as identity primary key,
    url             text not null unique
        constraint "url: absolute http(s) URL, no user or fragment"
        check (url ~* '^https?://[^[:space:]/?#@\\]+([/?][^[:space:]#]*)?$' and char_length(url) <= 2048),
    event_types     text[] not null
        constraint "event_types: at least one, known words only"
        check (cardinality(event_types) > 0 and event_types <@ array['task.submitted', 'task.processing', 'task.succeeded', 'task.failed', 'task.expired', 'task.not_found', 'task.canceled']),
    description     text not null default '',
    created_at      timestamptz not null default now(),
    disabled_at     timestamptz,
    disabled_reason text
);

comment on table klingwatch.webhook_endpoints is 'Receivers that get the events of every task (a task''s own callback_url needs no row here).';
comment on column klingwatch.webhook_endpoints.id is 'number for the endpoints commands';
comment on column klingwatch.webhook_endpoints.url is 'where events are sent';
comment on column klingwatch.webhook_endpoints.event_types is 'event types that this receiver asked for';
comment on column klingwatch.webhook_endpoints.description is 'a note for people';
comment on column klingwatch.webhook_endpoints.created_at is 'when it was added';
comment on column klingwatch.webhook_endpoints.disabled_at is 'null while enabled; deliveries wait while disabled and go out after enabling';
comment on column klingwatch.webhook_endpoints.disabled_reason is 'who or what disabled it: a person, or 410 Gone';

create table klingwatch.signing_keys (
    id         bigint generated always as identity primary key,
    endpoint   bigint references klingwatch.webhook_endpoints (id) on delete cascade,
    secret     text not null check (secret like 'whsec\_%'),
    created_at timestamptz not null default now(),
    expires_at timestamptz
);

create unique index signing_keys_current on klingwatch.signing_keys (coalesce(endpoint, 0)) where expires_at is null;

comment on table klingwatch.signing_keys is 'Secrets that sign webhooks (Standard Webhooks v1). Not readable by klingwatch_reader.';
comment on column klingwatch.signing_keys.id is 'row number';
comment on column klingwatch.signing_keys.endpoint is 'webhook_endpoints.id; null: the deployment''s key, for callback_url';
comment on column klingwatch.signing_keys.secret is 'whsec_ and the base64 of 32 random bytes';
comment on column klingwatch.signing_keys.created_at is 'newest first in the signature header';
comment on column klingwatch.signing_keys.expires_at is 'null: the current key; else an old one that signs as well until then';

create table klingwatch.deliveries (
    id              bigint generated always as identity primary key,
    event           bigint not null references klingwatch.events (id) on delete cascade,
    endpoint        bigint references klingwatch.webhook_endpoints (id) on delete cascade,
    url             text not null,
    state           text not null default 'pending'
        check (state in ('pending', 'delivered', 'exhausted', 'canceled')),
    attempts        int not null default 0,
    next_attempt_at timestamptz default now(),
    delivered_at    timestamptz,
    created_at      timestamptz not null default now()
) with (fillfactor = 80);

create unique index deliveries_once on klingwatch.deliveries (event, coalesce(endpoint, 0));
create index deliveries_pending on klingwatch.deliveries (id) where state = 'pending';
create index deliveries_endpoint on klingwatch.deliveries (endpoint) where endpoint is not null;

comment on table klingwatch.deliveries is 'Event x receiver: one row for each webhook that has to arrive.';
comment on column klingwatch.deliveries.id is 'number of the delivery';
comment on column klingwatch.deliveries.event is 'events.id';
comment on column klingwatch.deliveries.endpoint is 'webhook_endpoints.id; null: the task''s own callback_url';
comment on column klingwatch.deliveries.url is 'receiver at the time of the event';
comment on column klingwatch.deliveries.state is 'pending, delivered (a 2xx came back), exhausted (gave up), canceled (a person stopped it)';
comment on column klingwatch.deliveries.attempts is 'requests begun so far';
comment on column klingwatch.deliveries.next_attempt_at is 'when the next request is due; null: none is planned (ended, or its endpoint is disabled)';
comment on column klingwatch.deliveries.delivered_at is 'when the 2xx came back';
comment on column klingwatch.deliveries.created_at is 'time of the event';

create table klingwatch.delivery_attempts (
    delivery      bigint not null references klingwatch.deliveries (id) on delete cascade,
    attempt       int not null check (attempt >= 1),
    started_at    timestamptz not null default now(),
    finished_at   timestamptz,
    status_code   int,
    error         text,
    response_body text,
    primary key (delivery, attempt)
);

comment on table klingwatch.delivery_attempts is 'One row per request, written before it is sent.';
comment on column klingwatch.delivery_attempts.delivery is 'deliveries.id';
comment on column klingwatch.delivery_attempts.attempt is 'from 1';
comment on column klingwatch.delivery_attempts.started_at is 'just before the request';
comment on column klingwatch.delivery_attempts.finished_at is 'null while under way, and for ever when the process was killed in between: the receiver may then have got it';
comment on column klingwatch.delivery_attempts.status_code is 'HTTP status of the receiver; null when none came back';
comment on column klingwatch.delivery_attempts.error is 'class of the failure and its reason, null for a 2xx: blocked_address, dns_error, connection_refused, tls_error, timeout, redirect_refused, http_status, network_error, invalid_url, signing_error';
comment on column klingwatch.delivery_attempts.response_body is 'first 1024 bytes of the receiver''s answer';
