-- What lists find failures by. An index on status would cost every status change of an open task its place beside the old row ("HOT"): new
-- entries in all indexes. This column changes once, and for most tasks never.

alter table klingwatch.tasks add column ended_as text;
comment on column klingwatch.tasks.ended_as is 'the status of a task that has ended without success: failed, expired, not_found, canceled; null for all others. Lists find such tasks by it';

create function klingwatch.note_end() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    new.ended_as := case when new.status in ('failed', 'expired', 'not_found', 'canceled') then new.status end;
    return new;
end
$$;

comment on function klingwatch.note_end() is 'Trigger: sets ended_as, whoever writes the status.';
revoke all on function klingwatch.note_end() from public;

create trigger note_end before insert or update on klingwatch.tasks
    for each row when (new.ended_as is distinct from case when new.status in ('failed', 'expired', 'not_found', 'canceled') then new.status end)
    execute function klingwatch.note_end();

-- Tasks are retried and canceled as fast as polls allow. The version before goes on at per_second.
alter table klingwatch.bulk_actions add column paced boolean not null default true;
comment on column klingwatch.bulk_actions.paced is 'false: as many are changed as polls and webhooks leave time for, whatever per_second says';
comment on column klingwatch.bulk_actions.filter is 'what else chooses them: path, relay, app, external_id, metadata, error, overdue; for deliveries error, and tasks';

do $$
begin
    if exists (select from pg_roles where rolname = 'klingwatch_operator') then
        grant insert (paced) on klingwatch.bulk_actions to klingwatch_operator;
    end if;
end
$$;
