-- What a task costs while it is polled: the checks of its rows are made once a statement instead of once a row, a write of its row needs
-- no trigger before it, and the row finds room to grow on its page.

-- In the order in which klingwatch writes them, so that no writer waits for the other in a ring. Who waits for tasks waits for the others as
-- well: where one of them is in use, all is given up soon and tried again.
lock table klingwatch.tasks in access exclusive mode;
set local lock_timeout = '200ms';
lock table klingwatch.outputs, klingwatch.events, klingwatch.deliveries, klingwatch.delivery_attempts in access exclusive mode;

-- References. A foreign key plans and runs a query for each row that is inserted, a fifth of what Postgres did for a task. These triggers
-- hold the same: no row without the one it belongs to, and none is left when that is deleted.

create function klingwatch.delete_children() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then -- it would not see, and leave, what others have added since its snapshot
        raise exception using errcode = 'feature_not_supported', message = format('rows of klingwatch.%s are deleted only in transactions that are read committed', tg_table_name);
    end if;
    execute format('delete from klingwatch.%I where %I in (select id from deleted)', tg_argv[0], tg_argv[1]);
    return null;
end
$$;

comment on function klingwatch.delete_children() is 'Trigger (table, column): deletes what belongs to deleted rows, in place of a foreign key.';
revoke all on function klingwatch.delete_children() from public;

create function klingwatch.keep_children() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    left_over boolean;
begin
    execute format('select exists (select from klingwatch.%I where %I is not null)', tg_argv[0], tg_argv[1]) into left_over;
    if left_over then
        raise exception using errcode = 'foreign_key_violation', message = format('klingwatch.%s has rows that belong to klingwatch.%s', tg_argv[0], tg_table_name),
            hint = 'truncate both in one command, or delete the rows';
    end if;
    return null;
end
$$;

comment on function klingwatch.keep_children() is 'Trigger (table, column): a table is truncated only together with what belongs to it, in place of a foreign key.';
revoke all on function klingwatch.keep_children() from public;

create function klingwatch.keep_id() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'foreign_key_violation', message = format('klingwatch.%s: an id, and what a row belongs to, cannot be changed', tg_table_name);
end
$$;

comment on function klingwatch.keep_id() is 'Trigger: refuses to change an id that other rows belong to, or what a row belongs to.';
revoke all on function klingwatch.keep_id() from public;

do $$
declare
    link record;
begin
    for link in
        select * from (values ('outputs', 'task', 'tasks'), ('events', 'task', 'tasks'), ('deliveries', 'event', 'events'), ('delivery_attempts', 'delivery', 'deliveries'))
            as l(child, reference, parent)
    loop
        execute format('alter table klingwatch.%I drop constraint %I', link.child, link.child || '_' || link.reference || '_fkey');
        -- Its plan is kept, and by index whatever the statistics say: to plan it each time takes ten times as long as to run it for one row.
        execute format($f$
            create function klingwatch.%1$I() returns trigger
                language plpgsql security definer
                set search_path = pg_catalog, pg_temp
                set plan_cache_mode = force_generic_plan
                set enable_seqscan = off
            as $body$
            declare
                missing bigint;
            begin
                -- A parent that this transaction has written is nobody else's to delete before the commit. The others are locked: who deletes
                -- one waits, and finds the new rows then.
                select c.id into missing
                from (select distinct %2$I as id from inserted where %2$I is not null) c
                where case when exists (select from klingwatch.%3$I p where p.id = c.id and p.xmin = pg_current_xact_id()::xid) then false
                           else not exists (select from klingwatch.%3$I p where p.id = c.id for key share) end
                limit 1;
                if missing is not null then
                    raise exception using errcode = 'foreign_key_violation',
                        message = format('%%s.%%s: klingwatch.%%s has no row with the id %%s', tg_table_name, %2$L, %3$L, missing);
                end if;
                return null;
            end
            $body$
            $f$, 'check_' || link.child, link.reference, link.parent);
        execute format('comment on function klingwatch.%I() is %L', 'check_' || link.child,
            format('Trigger: what is inserted into %s belongs to a row of %s that exists, in place of a foreign key.', link.child, link.parent));
        execute format('revoke all on function klingwatch.%I() from public', 'check_' || link.child);
        execute format('create trigger check_parents after insert on klingwatch.%I
            referencing new table as inserted for each statement execute function klingwatch.%I()', link.child, 'check_' || link.child);
        execute format('create trigger keep_parent after update of %2$I on klingwatch.%1$I
            for each row when (new.%2$I is distinct from old.%2$I) execute function klingwatch.keep_id()', link.child, link.reference);
        execute format('create trigger %I after delete on klingwatch.%I
            referencing old table as deleted for each statement execute function klingwatch.delete_children(%L, %L)', 'delete_' || link.child, link.parent, link.child, link.reference);
        execute format('create trigger %I after truncate on klingwatch.%I
            for each statement execute function klingwatch.keep_children(%L, %L)', 'keep_' || link.child, link.parent, link.child, link.reference);
    end loop;
    for link in values ('tasks'), ('events'), ('deliveries') loop
        execute format('create trigger keep_id after update of id on klingwatch.%I
            for each row when (new.id <> old.id) execute function klingwatch.keep_id()', link.column1);
    end loop;
end
$$;

-- A trigger before an update locks each row first, which is written to the log. klingwatch itself writes all columns; for others, and the
-- version before, a second update follows.

create function klingwatch.ended_as(status text) returns text
    language sql immutable parallel safe
    return case when status in ('failed', 'expired', 'not_found', 'canceled') then status end;

comment on function klingwatch.ended_as(text) is 'tasks.ended_as of a status: the status of a task that has ended without success, null for all others.';

drop trigger raise_version on klingwatch.tasks;
drop trigger note_end on klingwatch.tasks;

create or replace function klingwatch.note_end() returns trigger
    language plpgsql set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    new.ended_as := klingwatch.ended_as(new.status);
    return new;
end
$$;

create trigger note_end before insert on klingwatch.tasks
    for each row when (new.ended_as is distinct from klingwatch.ended_as(new.status)) execute function klingwatch.note_end();

create function klingwatch.follow_update() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    update klingwatch.tasks
    set version = version + 1,
        ended_as = klingwatch.ended_as(status),
        ended_by = case when new.version = old.version and new.status is distinct from old.status then klingwatch.ender_of(status) else ended_by end
    where id = new.id;
    return null;
end
$$;

comment on function klingwatch.follow_update() is 'Trigger: raises tasks.version and sets ended_as and ended_by for a writer that did not, like a person or an older klingwatch.';
revoke all on function klingwatch.follow_update() from public;

create trigger follow_update after update on klingwatch.tasks
    for each row when (new.version = old.version or new.ended_as is distinct from klingwatch.ended_as(new.status)) execute function klingwatch.follow_update();

drop function klingwatch.raise_version();

-- The same as before, but it writes ended_as.
create or replace function klingwatch.reopen_tasks() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
declare
    reopened bigint[];
begin
    with chosen as (
        -- in one order, so that two who retry the same tasks do not wait for each other
        select t.id, i.deadline from inserted i
        join klingwatch.tasks t on t.id = i.task
        where t.status in ('succeeded', 'failed', 'expired', 'not_found', 'canceled')
        order by t.id
        for no key update of t
    ), changed as (
        update klingwatch.tasks t
        set status = 'pending',
            status_message = 'asked again by a person',
            last_error = null,
            last_polled_at = null,
            finished_at = null,
            late_checks_until = null,
            late = false,
            retried_at = now(),
            ended_by = null,
            ended_as = null,
            version = version + 1,
            deadline_at = now() + coalesce(chosen.deadline, greatest(t.deadline_at - coalesce(t.retried_at, t.created_at), interval '1 hour'))
        from chosen
        where t.id = chosen.id
          and (t.relay = 'default' or t.relay in (select r.name from klingwatch.relays r for key share))
        returning t.id
    )
    select array_agg(id) into reopened from changed;
    if reopened is not null then
        delete from klingwatch.cancellations where task = any (reopened); -- they were about its life before
        perform klingwatch.give_jobs('poll', reopened);
        perform pg_notify('klingwatch.tasks', id::text) from unnest(reopened) as id;
    end if;
    delete from klingwatch.retries where task in (select task from inserted);
    return null;
end
$$;

-- A task that has ended takes more than twice the room of a new one. Where its page has that room, its changes write no entries into indexes
-- ("HOT") and less of the row. Pages that are full stay as they are.
alter table klingwatch.tasks set (fillfactor = 50);
