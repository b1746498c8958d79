-- An inserted task costs less: a sixth of the CPU by COPY, a quarter as a single row. Its queue is
-- an expression now, not a call of a function for each row. All that is to be looked at in new rows is
-- looked at once a statement: a trigger before each row has COPY write row by row, and the condition
-- of a trigger for each row is prepared anew by every statement.

lock table klingwatch.tasks in access exclusive mode;

-- The same queues as before. Numbers are cast to text, because || with a number counts as not immutable, and then Postgres calls the function.
create or replace function klingwatch.poll_queue(relay_id int, relay text, task bigint) returns text
    language sql immutable parallel safe
    return coalesce(case when relay <> 'default' then 'relay-' || relay_id::text || '-' || (task % 2)::text end, klingwatch.job_queue('poll', task));

create function klingwatch.check_tasks() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
declare
    elsewhere boolean;
    undocumented boolean;
    ended boolean;
    backfilled boolean;
    overdue timestamptz;
    refusal text;
    path text;
begin
    select bool_or(i.relay <> 'default'), bool_or(not klingwatch.is_documented(i.action, i.action2)), bool_or(i.ended_as is distinct from klingwatch.ended_as(i.status)),
           bool_or(i.created_at < now()), min(i.deadline_at) filter (where i.deadline_at <= now() and i.finished_at is null and i.created_at >= now())
    into elsewhere, undocumented, ended, backfilled, overdue from inserted i;

    if overdue is not null then
        raise exception using errcode = 'check_violation', message = format('deadline_at: must be in the future, not %s', overdue),
            hint = 'leave it out to use KLINGWATCH_TASK_DEADLINE, or give a time with its zone, such as now() + interval ''1 day''';
    end if;
    if elsewhere then
        select format('relay %s is not known, the relays are %s', i.relay,
                   (select string_agg(name, ', ' order by name) from (select name from klingwatch.relays union select 'default') as known))
        into refusal from inserted i
        where i.relay <> 'default' and not exists (select from klingwatch.relays r where r.name = i.relay for key share) limit 1; -- it is not removed meanwhile
        if found then
            raise exception using
                errcode = 'foreign_key_violation', schema = 'klingwatch', table = 'tasks', column = 'relay', constraint = refusal, message = refusal,
                hint = 'Add it: klingwatch relays add NAME URL';
        end if;
    end if;
    if ended then
        -- planned anew each time, with the tasks that there are now
        execute 'update klingwatch.tasks set ended_as = klingwatch.ended_as(status), version = version + 1 where id = any (array(select unnest($1)))'
        using array(select i.id from inserted i where i.ended_as is distinct from klingwatch.ended_as(i.status));
    end if;
    if backfilled then
        insert into klingwatch.days_to_summarize (day)
        select d.day
        from (select distinct (i.created_at at time zone s.time_zone)::date as day from inserted i, klingwatch.report_state s) as d
        where d.day < klingwatch.report_day()
          and not exists (select from klingwatch.days_to_summarize s where s.day = d.day and s.xact = pg_current_xact_id());
    end if;
    if undocumented then
        for path in
            select distinct i.action || '/' || i.action2
            from (select distinct relay, action, action2 from inserted) i left join klingwatch.relays r on r.name = i.relay
            where not klingwatch.is_documented(i.action, i.action2) and coalesce(r.task_path, '{action}') like '%{action%' limit 5
        loop
            raise notice 'nobody documents the path %: the task is polled all the same, but check the spelling', path;
        end loop;
    end if;
    return null;
end
$$;

comment on function klingwatch.check_tasks() is 'Trigger: refuses tasks of a relay that is not known or whose deadline is past, sets ended_as, notes past days so that they enter the reports, and tells of paths that nobody documents.';
revoke all on function klingwatch.check_tasks() from public;

drop trigger check_relay on klingwatch.tasks;
drop trigger refuse_past_deadline on klingwatch.tasks;
drop trigger note_backfill on klingwatch.tasks;
drop trigger note_end on klingwatch.tasks;
drop function klingwatch.check_relay(), klingwatch.refuse_past_deadline(), klingwatch.note_end();

create trigger check_tasks after insert on klingwatch.tasks
    referencing new table as inserted for each statement execute function klingwatch.check_tasks();

-- What is left of its work are updates.
create or replace function klingwatch.note_backfill() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    insert into klingwatch.days_to_summarize (day)
    select d.day
    from unnest(array[new.created_at, old.created_at]) as t(at), klingwatch.report_day(t.at) as d(day)
    where d.day < klingwatch.report_day()
      and not exists (select from klingwatch.days_to_summarize s where s.day = d.day and s.xact = pg_current_xact_id());
    return null;
end
$$;

comment on function klingwatch.note_backfill() is 'Trigger: notes the past days that tasks are moved from and to by a new created_at, so that they enter the reports.';
