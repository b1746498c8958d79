-- Webhook-ids are derived from what is the same in any history of a task. The secret keeps those of two deployments apart, and is as old
-- as this step, so that every standby and backup with events that were derived from it has it.

create table klingwatch.event_secret (
    one    boolean primary key default true check (one),
    -- 244 random bits without pgcrypto
    secret bytea not null default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
        constraint "secret: 32 bytes" check (octet_length(secret) = 32)
);

-- Not encrypted: it signs nothing, and who knows it can only tell ids of this deployment in advance.
comment on table klingwatch.event_secret is 'One row: what webhook-ids are derived with. Made once, never changed. Not readable by klingwatch_reader.';
comment on column klingwatch.event_secret.one is 'there is one row';
comment on column klingwatch.event_secret.secret is 'key of the HMAC-SHA256 behind events.event_id';

insert into klingwatch.event_secret default values;

comment on column klingwatch.events.event_id is 'the webhook-id header: the same on every delivery and retry, and when a lost commit is made again; random in events from before step 018';
