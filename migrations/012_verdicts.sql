-- Who ended a task, and files that need the relay's key.

alter table klingwatch.tasks add column ended_by text;
-- "not valid": no scan of what is there; 013 fills it in
alter table klingwatch.tasks add constraint "ended_by: provider, relay, klingwatch or person"
    check (ended_by in ('provider', 'relay', 'klingwatch', 'person')) not valid;

comment on column klingwatch.tasks.ended_by is 'who ended it: provider (its own word), relay (its time-out or trouble; the provider may still finish), klingwatch (expired, not_found), person (canceled); null while open';
comment on column klingwatch.tasks.late_checks_until is 'a task that the provider has not ended itself (expired, not_found, failed by the relay) is asked again, rarely, until then; null otherwise';

alter table klingwatch.outputs add column needs_key boolean not null default false;

comment on column klingwatch.outputs.needs_key is 'true for a link of the relay''s own that answers only with the relay''s key';
comment on column klingwatch.outputs.expires_at is 'when the file is gone: the earliest of the relay''s lifetime (30 days after the task finished, unless it says otherwise) and of what the URL itself says';

create function klingwatch.ender_of(status text) returns text
    language sql immutable parallel safe
    return case when status in ('succeeded', 'failed') then 'provider' when status in ('expired', 'not_found') then 'klingwatch' when status = 'canceled' then 'person' end;

comment on function klingwatch.ender_of(text) is 'Who ends a task with a status, where nothing else is known.';

-- The version before this one, and people, write no ended_by.
create or replace function klingwatch.raise_version() returns trigger
    language plpgsql set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    new.version := old.version + 1;
    if new.status is distinct from old.status then
        new.ended_by := klingwatch.ender_of(new.status);
    end if;
    return new;
end
$$;
