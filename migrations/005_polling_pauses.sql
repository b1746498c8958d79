-- A credential that the relay refuses pauses polling for the whole deployment.

create table klingwatch.polling_pauses (
    credential  text primary key,
    reason      text not null,
    paused_at   timestamptz not null default now(),
    probe_at    timestamptz not null
);

comment on table klingwatch.polling_pauses is 'Credentials that the relay refuses now: nothing is asked with them but one probe per minute; a probe that is answered removes the row.';
comment on column klingwatch.polling_pauses.credential is 'fingerprint of the key: 8 hex digits of its hash';
comment on column klingwatch.polling_pauses.reason is 'what the relay answered';
comment on column klingwatch.polling_pauses.paused_at is 'since when';
comment on column klingwatch.polling_pauses.probe_at is 'when one instance may ask again';

do $$
begin
    if exists (select from pg_roles where rolname = 'klingwatch_reader') then
        grant select on klingwatch.polling_pauses to klingwatch_reader;
    end if;
end
$$;
