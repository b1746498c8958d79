-- Kling calls a URL when the status of a task changes, where its creation named one. Ours has the name of the relay and a token in it, and
-- a callback only has the task asked about at once.

create table klingwatch.relay_callbacks (
    relay          text primary key
        constraint "relay: 1 to 64 of a-z, 0-9, ., _, -, beginning with a-z or 0-9" check (relay ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    token_hash     bytea
        constraint "token_hash: of SHA-256" check (octet_length(token_hash) = 32),
    old_token_hash bytea
        constraint "old_token_hash: of SHA-256" check (octet_length(old_token_hash) = 32),
    old_until      timestamptz,
    signing_secret text,
    made_at        timestamptz,
    constraint "old_until: is set where there is an old token" check ((old_token_hash is null) = (old_until is null)),
    constraint "made_at: is set where there is a token" check ((token_hash is null) = (made_at is null))
);

comment on table klingwatch.relay_callbacks is 'The addresses that relays may call when a task changes, /v1/callbacks/RELAY/TOKEN: see klingwatch relays callback.';
comment on column klingwatch.relay_callbacks.relay is 'relays.name; default can have one before a service has written its row';
comment on column klingwatch.relay_callbacks.token_hash is 'SHA-256 of the token in the address, which is stored nowhere; null: there is none';
comment on column klingwatch.relay_callbacks.old_token_hash is 'of the token before, which tasks on their way may have';
comment on column klingwatch.relay_callbacks.old_until is 'until when the token before is accepted';
comment on column klingwatch.relay_callbacks.signing_secret is 'with which Kling signs, encrypted with KLINGWATCH_ENCRYPTION_KEY; null: signatures are not verified';
comment on column klingwatch.relay_callbacks.made_at is 'when the token was made';
