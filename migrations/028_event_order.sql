-- The ids of events follow commits, so that "id > cursor order by id" misses none, for whoever reads. An id comes from a sequence, which
-- knows nothing of commits: without a turn that lasts until the commit, a reader passes an id whose event is not to be seen yet.
--
-- The turn is a lock on the table event_secret, which nobody without rights on it can take, as they could an advisory lock; pg_locks
-- names who has it. It lets everybody read, and pg_dump; VACUUM takes the same lock for a moment.

create function klingwatch.lock_event_order() returns void
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
    -- Longer than a stopped process of klingwatch can keep it (idle_in_transaction_session_timeout, 3 s), shorter than the 5 s that
    -- klingwatch gives a write.
    set lock_timeout = '4s'
as $$
declare
    holder text;
begin
    lock table klingwatch.event_secret in share update exclusive mode;
exception when lock_not_available then
    select format('the session with pid %s, role "%s", application "%s",', l.pid, a.usename, a.application_name) into holder
    from pg_locks l
    left join pg_stat_activity a using (pid)
    where l.relation = 'klingwatch.event_secret'::regclass and l.mode = 'ShareUpdateExclusiveLock' and l.granted
      and l.database = (select oid from pg_database where datname = current_database());
    -- a code of its own: lock_not_available would mean that somebody has locked a task
    raise exception using errcode = 'transaction_rollback', message = format(
        'events are written in the order of their commits, and %s has kept all others waiting for 4 s: it must end its transaction, or end it with pg_terminate_backend',
        coalesce(holder, 'another session'));
end
$$;

comment on function klingwatch.lock_event_order() is 'Takes the turn to write events, until the end of the transaction; fails after 4 s, and names who has it. Whoever writes tasks and events writes the tasks first.';
revoke all on function klingwatch.lock_event_order() from public;

create function klingwatch.write_events_in_order() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    perform klingwatch.lock_event_order();
    perform pg_notify('klingwatch.events', '');
    return null;
end
$$;

comment on function klingwatch.write_events_in_order() is 'Trigger: ids of events are given by turns, and once they are committed, those who listen on klingwatch.events look.';
revoke all on function klingwatch.write_events_in_order() from public;

create trigger write_events_in_order before insert on klingwatch.events
    for each statement execute function klingwatch.write_events_in_order();

comment on column klingwatch.events.id is 'cursor of the feed: ids follow commits, so "where id > cursor order by id" misses no event; they have gaps. Writers of events wait for each other until their commit';

create table klingwatch.feed (
    one             boolean primary key default true check (one),
    tasks_until     bigint not null,
    endpoints_until bigint not null
);

comment on table klingwatch.feed is 'One row: which events klingwatch has deleted because they were old. Events that somebody deletes by hand do not count.';
comment on column klingwatch.feed.one is 'there is one row';
comment on column klingwatch.feed.tasks_until is 'the highest events.id of a task that was deleted: whoever has read up to a lower one has missed events of tasks';
comment on column klingwatch.feed.endpoints_until is 'the same for the events about endpoints';

-- what was deleted before this step was not noted
insert into klingwatch.feed (tasks_until, endpoints_until)
select coalesce(min(id) - 1, 0), coalesce(min(id) - 1, 0) from klingwatch.events;
