-- What apps and operators ask for with SQL, in their own transaction, without rights on tables that are klingwatch's to write.
--
-- A retry is done here and now. A cancellation is only asked for, as a row with a job, and klingwatch serve does it once the asking
-- transaction has committed: it makes an event, whose webhook-id only klingwatch derives, and which must follow the order of commits.
-- An app's transaction may stay open for minutes, and nobody's events shall wait for it. So there is one way to cancel, ledger.Cancel.

create function klingwatch.caller() returns name
    language sql stable
    -- in a "security definer" function current_user is the owner
    return coalesce(nullif(current_setting('role', true), 'none'), session_user);

comment on function klingwatch.caller() is 'The role that calls, also within functions that work with the owner''s rights.';

create function klingwatch.within_reach(app text) returns boolean
    language sql stable
    return app = klingwatch.caller()::text or app = '' or not klingwatch.acts_for_one_app(klingwatch.caller());

comment on function klingwatch.within_reach(text) is 'True for the tasks that the calling role meets, see tasks.app.';

create table klingwatch.cancellations (
    task     bigint primary key,
    asked_by text not null,
    asked_at timestamptz not null default now()
);

comment on table klingwatch.cancellations is 'Tasks that klingwatch.cancel was asked to cancel and klingwatch serve has not canceled yet.';
comment on column klingwatch.cancellations.task is 'tasks.id';
comment on column klingwatch.cancellations.asked_by is 'the role that asked';
comment on column klingwatch.cancellations.asked_at is 'when it asked';

create function klingwatch.tasks_within_reach(ids bigint[]) returns setof klingwatch.tasks
    language plpgsql stable
as $$
declare
    missing text;
begin
    return query
        select t.*
        from unnest(ids) with ordinality as wanted(id, place)
        join klingwatch.tasks t on t.id = wanted.id
        where klingwatch.within_reach(t.app)
        order by wanted.place;
    select string_agg(distinct wanted.id::text, ', ') into missing
    from unnest(ids) as wanted(id)
    where not exists (select from klingwatch.tasks t where t.id = wanted.id and klingwatch.within_reach(t.app));
    if missing is not null then
        raise exception using errcode = 'no_data_found', message = format('no task of yours has the id %s', missing);
    end if;
end
$$;

comment on function klingwatch.tasks_within_reach(bigint[]) is 'Tasks by our ids, in their order; fails where one is not there, or another app''s.';
revoke all on function klingwatch.tasks_within_reach(bigint[]) from public;

create function klingwatch.cancel(ids bigint[]) returns setof klingwatch.tasks
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
declare
    asked bigint[];
begin
    with chosen as (
        select t.id from klingwatch.tasks_within_reach(ids) t
        where t.finished_at is null or t.late_checks_until > now()
    ), made as (
        insert into klingwatch.cancellations (task, asked_by)
        select distinct id, klingwatch.caller() from chosen order by id
        on conflict do nothing
        returning task
    )
    select array_agg(task) into asked from made;
    if asked is not null then
        perform klingwatch.give_jobs('cancel', asked);
    end if;
    return query select * from klingwatch.tasks_within_reach(ids);
end
$$;

comment on function klingwatch.cancel(bigint[]) is 'Stops tracking tasks, by our ids: klingwatch serve does it, with event and webhooks, within a second of your commit. Returns the tasks as they are until then; those that have ended stay as they are.';
revoke all on function klingwatch.cancel(bigint[]) from public;

create function klingwatch.cancel(id bigint) returns klingwatch.tasks
    language sql
    return klingwatch.cancel(array[cancel.id]);

comment on function klingwatch.cancel(bigint) is 'Stops tracking a task, by our id: klingwatch serve does it, with event and webhooks, within a second of your commit. Returns the task as it is until then; one that has ended stays as it is.';
revoke all on function klingwatch.cancel(bigint) from public;

create function klingwatch.retry(ids bigint[], deadline interval default null) returns setof klingwatch.tasks
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
declare
    reopened bigint[];
begin
    with chosen as (
        -- in one order, so that two who retry the same tasks do not wait for each other
        select t.id from klingwatch.tasks t
        where t.id in (select c.id from klingwatch.tasks_within_reach(ids) c)
          and t.status in ('succeeded', 'failed', 'expired', 'not_found', 'canceled')
        order by t.id
        for no key update
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
            version = version + 1,
            deadline_at = now() + coalesce(deadline, greatest(t.deadline_at - coalesce(t.retried_at, t.created_at), interval '1 hour'))
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
    return query select * from klingwatch.tasks_within_reach(ids);
end
$$;

comment on function klingwatch.retry(bigint[], interval) is 'Has tasks that have ended asked again, by our ids: they are pending, with a new deadline, by default as long after now as the first was after the insertion (an hour at least). Returns the tasks; those that are tracked, or whose relay was removed, stay as they are.';
revoke all on function klingwatch.retry(bigint[], interval) from public;

create function klingwatch.retry(id bigint, deadline interval default null) returns klingwatch.tasks
    language sql
    return klingwatch.retry(array[retry.id], retry.deadline);

comment on function klingwatch.retry(bigint, interval) is 'Has a task that has ended asked again, by our id: it is pending, with a new deadline, by default as long after now as the first was after the insertion (an hour at least). Returns the task; one that is tracked, or whose relay was removed, stays as it is.';
revoke all on function klingwatch.retry(bigint, interval) from public;

create function klingwatch.track(task_ids text[], action text, action2 text, external_ids text[] default null, callback_url text default null,
                                 metadata jsonb default '{}', deadline_at timestamptz default null, relay text default 'default')
    returns setof klingwatch.tasks
    language plpgsql
as $$
#variable_conflict use_column
declare
    missing text;
begin
    for attempt in 1..3 loop -- against those who delete the same tasks at the same moment
        insert into klingwatch.tasks (task_id, action, action2, external_id, callback_url, metadata, deadline_at, relay)
        select wanted.id, track.action, track.action2, wanted.external_id, track.callback_url, coalesce(track.metadata, '{}'), track.deadline_at, coalesce(track.relay, 'default')
        from unnest(task_ids, external_ids) as wanted(id, external_id)
        order by wanted.id -- in one order, so that two who track the same tasks do not wait for each other
        on conflict do nothing;
        -- only a later statement sees what another transaction inserted meanwhile
        select string_agg(wanted.id, ', ') into missing
        from unnest(task_ids) as wanted(id)
        where not exists (select from klingwatch.tasks t
                          where t.task_id = wanted.id and t.action = track.action and t.action2 = track.action2 and t.relay = coalesce(track.relay, 'default'));
        exit when missing is null;
    end loop;
    if missing is not null then
        raise exception using errcode = 'unique_violation', message = format('tracked already, by another app: %s', missing);
    end if;
    return query
        select t.*
        from unnest(task_ids) with ordinality as wanted(id, place)
        join klingwatch.tasks t on t.task_id = wanted.id and t.action = track.action and t.action2 = track.action2 and t.relay = coalesce(track.relay, 'default')
        order by wanted.place;
end
$$;

comment on function klingwatch.track(text[], text, text, text[], text, jsonb, timestamptz, text) is 'Inserts tasks by the provider''s ids, those that are tracked already left alone, and returns all of them, in their order.';
revoke all on function klingwatch.track(text[], text, text, text[], text, jsonb, timestamptz, text) from public;

create function klingwatch.track(task_id text, action text, action2 text, external_id text default null, callback_url text default null,
                                 metadata jsonb default '{}', deadline_at timestamptz default null, relay text default 'default')
    returns klingwatch.tasks
    language sql
    return klingwatch.track(array[track.task_id], track.action, track.action2, array[track.external_id], track.callback_url, track.metadata,
                            track.deadline_at, track.relay);

comment on function klingwatch.track(text, text, text, text, text, jsonb, timestamptz, text) is 'Inserts a task by the provider''s id, unless it is tracked already, and returns it.';
revoke all on function klingwatch.track(text, text, text, text, text, jsonb, timestamptz, text) from public;
