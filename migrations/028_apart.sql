-- Apps stay apart whatever leads to their tasks: whoever is not known to see all sees its own.
--
-- Behind a view Postgres chooses policies by the rights of its owner, but current_user in them is its reader; in a "security definer"
-- function current_user is the owner, and nothing tells who calls. So those who see all have policies that name their roles; the policy for
-- everybody else compares with current_user and looks at nothing else; and nothing that knows the caller works with the owner's rights.

create function klingwatch.may_write_tasks() returns boolean
    language sql stable parallel safe
    return has_table_privilege('klingwatch.tasks'::regclass, 'update'); -- by name it would need rights on the schema, which a view's reader lacks

comment on function klingwatch.may_write_tasks() is 'True for a role that works tasks as klingwatch serve does: it may change them all.';

-- The owner passes by all policies; grant_roles makes those of klingwatch_reader and klingwatch_operator.
alter policy apps on klingwatch.tasks
    using (app = current_user::text or app = '' or (select klingwatch.may_write_tasks()))
    with check (app = current_user::text or (select klingwatch.may_write_tasks()));
alter policy apps on klingwatch.outputs
    using ((select klingwatch.may_write_tasks()) or exists (select from klingwatch.tasks t where t.id = task));
alter policy apps on klingwatch.events
    using ((select klingwatch.may_write_tasks()) or exists (select from klingwatch.tasks t where t.id = task));

-- What the caller may ask for is decided by its own rights, as a check of the row that it inserts. What follows is done by a trigger, with
-- the owner's rights.

alter table klingwatch.cancellations alter column asked_by set default current_user;

-- Unlogged: its rows are gone when their transaction commits.
create unlogged table klingwatch.retries (
    task     bigint not null,
    deadline interval constraint "deadline: must be more than 0" check (deadline > interval '0')
);

comment on table klingwatch.retries is 'Tasks that klingwatch.retry is asked to retry in this very statement.';
comment on column klingwatch.retries.task is 'tasks.id';
comment on column klingwatch.retries.deadline is 'from now; null: as long as the last one was';

create policy ask on klingwatch.cancellations for insert
    with check (asked_by = current_user::text and exists (select from klingwatch.tasks t where t.id = task));
create policy look on klingwatch.cancellations for select using (true);
create policy work on klingwatch.cancellations using ((select klingwatch.may_write_tasks()));
create policy ask on klingwatch.retries for insert
    with check (exists (select from klingwatch.tasks t where t.id = task));

alter table klingwatch.cancellations enable row level security;
alter table klingwatch.retries enable row level security;

create function klingwatch.enqueue_cancellations() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    perform klingwatch.give_jobs('cancel', (select array_agg(task) from inserted));
    return null;
end
$$;

comment on function klingwatch.enqueue_cancellations() is 'Trigger: a River job for each cancellation that is asked for.';
revoke all on function klingwatch.enqueue_cancellations() from public;

create trigger enqueue after insert on klingwatch.cancellations
    referencing new table as inserted for each statement execute function klingwatch.enqueue_cancellations();

create function klingwatch.reopen_tasks() returns trigger
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

comment on function klingwatch.reopen_tasks() is 'Trigger: makes the tasks that have ended pending again.';
revoke all on function klingwatch.reopen_tasks() from public;

create trigger reopen after insert on klingwatch.retries
    referencing new table as inserted for each statement execute function klingwatch.reopen_tasks();

create or replace function klingwatch.tasks_within_reach(ids bigint[]) returns setof klingwatch.tasks
    language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    missing text;
begin
    return query
        select t.*
        from unnest(ids) with ordinality as wanted(id, place)
        join klingwatch.tasks t on t.id = wanted.id
        order by wanted.place;
    select string_agg(distinct coalesce(wanted.id::text, 'null'), ', ') into missing
    from unnest(ids) as wanted(id)
    where not exists (select from klingwatch.tasks t where t.id = wanted.id);
    if missing is not null then
        raise exception using errcode = 'no_data_found', message = format('no task of yours has the id %s', missing);
    end if;
end
$$;

comment on function klingwatch.tasks_within_reach(bigint[]) is 'Tasks by our ids, in their order; fails where one is not there, or the caller may not see it.';

create or replace function klingwatch.cancel(ids bigint[]) returns setof klingwatch.tasks
    language plpgsql security invoker set search_path = pg_catalog, pg_temp
as $$
begin
    insert into klingwatch.cancellations (task)
    select distinct t.id from klingwatch.tasks_within_reach(ids) t
    where t.finished_at is null or t.late_checks_until > now()
    order by t.id
    on conflict do nothing;
    return query select * from klingwatch.tasks_within_reach(ids);
end
$$;

create or replace function klingwatch.retry(ids bigint[], deadline interval default null) returns setof klingwatch.tasks
    language plpgsql security invoker set search_path = pg_catalog, pg_temp
as $$
begin
    if deadline <= interval '0' then
        raise exception using errcode = 'check_violation', message = format('deadline: must be more than 0, not %s', deadline),
            hint = 'leave it out for as long as the last one was, or give a time from now, such as interval ''2 hours''';
    end if;
    insert into klingwatch.retries (task, deadline)
    select distinct t.id, retry.deadline from klingwatch.tasks_within_reach(ids) t;
    return query select * from klingwatch.tasks_within_reach(ids);
end
$$;

comment on function klingwatch.retry(bigint[], interval) is 'Has tasks that have ended asked again, by our ids: they are pending, with a new deadline, by default as long after now as the last was after the insertion or the last retry (an hour at least). Returns the tasks; those that are tracked, or whose relay was removed, stay as they are.';
comment on function klingwatch.retry(bigint, interval) is 'Has a task that has ended asked again, by our id: it is pending, with a new deadline, by default as long after now as the last was after the insertion or the last retry (an hour at least). Returns the task; one that is tracked, or whose relay was removed, stays as it is.';

drop function klingwatch.within_reach(text), klingwatch.caller(), klingwatch.acts_for_one_app(name);

create or replace function klingwatch.grant_roles() returns void
    language plpgsql
    set lock_timeout = '1s' -- whoever asks for a table meanwhile waits behind it
as $$
declare
    wanted text;
    report regclass;
    relation regclass;
begin
    foreach wanted in array array['klingwatch_producer', 'klingwatch_reader', 'klingwatch_operator'] loop
        continue when not exists (select from pg_roles where rolname = wanted);
        execute format('grant usage on schema klingwatch to %I', wanted);
        -- a command looks first whether the schema is the one that it knows
        execute format('grant select on klingwatch.migrations to %I', wanted);
        execute format('grant select on klingwatch.tasks, klingwatch.outputs, klingwatch.events to %I', wanted);

        if wanted in ('klingwatch_producer', 'klingwatch_operator') then
            execute format('grant execute on function klingwatch.cancel(bigint), klingwatch.cancel(bigint[]), klingwatch.retry(bigint, interval),
                klingwatch.retry(bigint[], interval), klingwatch.tasks_within_reach(bigint[]) to %I', wanted);
            execute format('grant insert (task) on klingwatch.cancellations to %I', wanted);
            execute format('grant insert (task, deadline) on klingwatch.retries to %I', wanted);
        end if;
        if wanted = 'klingwatch_producer' then
            -- status and everything found out is klingwatch's to write
            grant insert (task_id, action, action2, external_id, callback_url, metadata, deadline_at, relay, app)
                on klingwatch.tasks to klingwatch_producer;
            grant select (name, base_url, task_path) on klingwatch.relays to klingwatch_producer;
            grant execute on function klingwatch.track(text, text, text, text, text, jsonb, timestamptz, text),
                klingwatch.track(text[], text, text, text[], text, jsonb, timestamptz, text) to klingwatch_producer;
            continue;
        end if;

        foreach relation in array array['klingwatch.tasks', 'klingwatch.outputs', 'klingwatch.events']::regclass[] loop
            continue when exists (select from pg_policy where polrelid = relation and polname = wanted);
            execute format('create policy %I on %s for select to %I using (true)', wanted, relation, wanted);
        end loop;
        execute format('grant select on klingwatch.webhook_endpoints, klingwatch.deliveries, klingwatch.delivery_attempts,
            klingwatch.bulk_actions, klingwatch.redeliveries, klingwatch.polling_pauses, klingwatch.cancellations, klingwatch.live_jobs, klingwatch.usual_durations,
            klingwatch.report_state, klingwatch.metadata_keys, klingwatch.metadata_summaries to %I', wanted);
        for report in
            select oid from pg_class where relnamespace = 'klingwatch'::regnamespace and relkind = 'v' and relname like 'report\_%'
        loop
            execute format('grant select on %s to %I', report, wanted);
        end loop;
        -- all but stored_key
        execute format('grant select (id, name, base_url, task_path, batch_size, poll_rate, output_lifetime, key_source, key_file, access_key,
            secret_key_file, credential, version, created_at, changed_at) on klingwatch.relays to %I', wanted);

        if wanted = 'klingwatch_operator' then
            -- No table as a whole may be changed, tasks least: a session's locks count as klingwatch's where its role may change tasks.
            grant update (disabled_at, disabled_reason, revision, failing_since, last_failed_at, failures, warned_at, last_error)
                on klingwatch.webhook_endpoints to klingwatch_operator;
            grant update (state, url, next_attempt_at, delivered_at, tries_before, tries_since, held_since, last_error)
                on klingwatch.deliveries to klingwatch_operator;
            grant insert (action, filter, endpoint, since, until, states, per_second, last, matched), update (finished_at)
                on klingwatch.bulk_actions to klingwatch_operator;
            grant execute on function klingwatch.give_jobs(text, bigint[]) to klingwatch_operator;
        end if;
    end loop;

    -- a long snapshot keeps dead rows of the queue alive
    for wanted in select klingwatch.roles_without_timeouts() loop
        begin
            execute format('alter role %I set statement_timeout = ''60s''', wanted);
            execute format('alter role %I set idle_in_transaction_session_timeout = ''60s''', wanted);
        exception when others then
            raise warning 'the timeouts of % were not set: %', wanted, sqlerrm;
        end;
    end loop;
end
$$;

select klingwatch.grant_roles();
