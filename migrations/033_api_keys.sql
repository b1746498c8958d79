-- Keys of the HTTP API, and the answers that it repeats.

create table klingwatch.api_keys (
    id           text primary key
        constraint "id: 8 letters or digits" check (id ~ '^[0-9A-Za-z]{8}$'),
    name         text not null
        constraint "name: 1 to 100 characters" check (char_length(name) between 1 and 100),
    hash         bytea not null
        constraint "hash: 32 bytes" check (octet_length(hash) = 32),
    scope        text not null
        constraint "scope: read, write or admin" check (scope in ('read', 'write', 'admin')),
    app          text
        constraint "app: a name, and not the scope admin" check (app is null or app <> '' and scope <> 'admin'),
    created_at   timestamptz not null default now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);

comment on table klingwatch.api_keys is 'Keys of the HTTP API. A key itself is shown once, when it is made.';
comment on column klingwatch.api_keys.id is 'part of the key, after kw_';
comment on column klingwatch.api_keys.name is 'a note for people: who has it';
comment on column klingwatch.api_keys.hash is 'SHA-256 of the key; not readable by klingwatch_reader and klingwatch_operator';
comment on column klingwatch.api_keys.scope is 'read, write (read and act) or admin (write and administer)';
comment on column klingwatch.api_keys.app is 'tasks.app: the key meets this app''s tasks only; null: all';
comment on column klingwatch.api_keys.created_at is 'when it was made';
comment on column klingwatch.api_keys.expires_at is 'refused from then on; null: never';
comment on column klingwatch.api_keys.last_used_at is 'as of the last minute; null: never used';
comment on column klingwatch.api_keys.revoked_at is 'refused since then; null: it is not revoked';

create table klingwatch.idempotency_keys (
    api_key     text not null references klingwatch.api_keys (id) on delete cascade,
    key         text not null
        constraint "key: 1 to 255 characters" check (char_length(key) between 1 and 255),
    fingerprint bytea not null,
    begun_at    timestamptz not null default now(),
    status      int,
    answer      text,
    primary key (api_key, key)
);
create index idempotency_keys_begun on klingwatch.idempotency_keys (begun_at);

comment on table klingwatch.idempotency_keys is 'Requests of the HTTP API with an Idempotency-Key, for a day: the same request gets the same answer. Not readable by other roles.';
comment on column klingwatch.idempotency_keys.api_key is 'api_keys.id';
comment on column klingwatch.idempotency_keys.key is 'the caller''s';
comment on column klingwatch.idempotency_keys.fingerprint is 'SHA-256 of method, address and body';
comment on column klingwatch.idempotency_keys.begun_at is 'when the first request came';
comment on column klingwatch.idempotency_keys.status is 'HTTP status of its answer; null: it is under way, or its process died';
comment on column klingwatch.idempotency_keys.answer is 'body of its answer; encrypted where KLINGWATCH_ENCRYPTION_KEY is set';

-- The rights of each part of the schema are in a function of their own, and grant_roles() calls them all.
alter function klingwatch.grant_roles() rename to grant_roles_on_tasks;
comment on function klingwatch.grant_roles_on_tasks() is 'The part of grant_roles() about tasks, webhooks, relays and reports.';

create function klingwatch.grant_roles_on_api() returns void
    language plpgsql
as $$
declare
    wanted text;
begin
    foreach wanted in array array['klingwatch_reader', 'klingwatch_operator'] loop
        continue when not exists (select from pg_roles where rolname = wanted);
        execute format('grant select (id, name, scope, app, created_at, expires_at, last_used_at, revoked_at) on klingwatch.api_keys to %I', wanted);
        if wanted = 'klingwatch_operator' then
            grant update (revoked_at) on klingwatch.api_keys to klingwatch_operator;
        end if;
    end loop;
end
$$;

comment on function klingwatch.grant_roles_on_api() is 'The part of grant_roles() about the HTTP API.';
revoke all on function klingwatch.grant_roles_on_api() from public;

create function klingwatch.grant_roles() returns void
    language sql
as $$
    select klingwatch.grant_roles_on_tasks();
    select klingwatch.grant_roles_on_api();
$$;

comment on function klingwatch.grant_roles() is 'Gives klingwatch_producer, klingwatch_reader and klingwatch_operator, where they exist, their rights, and those who log in to read their timeouts.';
revoke all on function klingwatch.grant_roles() from public;

select klingwatch.grant_roles();
