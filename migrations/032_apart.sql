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

comment on column klingwatch.tasks.app is 'the role that inserted it; who is not known to see all (the owner, klingwatch_reader, klingwatch_operator) meets only its own tasks, and those from before there was this column, which have none';

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

-- A row that is there already is no mistake when it comes again, whatever the time: so the deadline of a row that was inserted is looked at.
drop trigger refuse_past_deadline on klingwatch.tasks;
create trigger refuse_past_deadline after insert on klingwatch.tasks
    for each row when (new.deadline_at <= now() and new.finished_at is null and new.created_at >= now())
    execute function klingwatch.refuse_past_deadline();

-- What klingwatch list and klingwatch show tell of the next poll, to those who may read it; an app is told no more than its rows say.
create function klingwatch.poll_job(task bigint) returns table (state text, scheduled_at timestamptz, instance text, metadata jsonb)
    language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if task is not null and has_table_privilege('klingwatch.live_jobs', 'select') then
        return query select j.state, j.scheduled_at, j.instance, j.metadata from klingwatch.live_jobs j where j.key = klingwatch.job_key('poll', task);
    end if;
end
$$;

comment on function klingwatch.poll_job(bigint) is 'The live job of a task; nothing for who may not read klingwatch.live_jobs.';

-- Reports.

create or replace function klingwatch.set_report_time_zone(zone text) returns void
    language plpgsql
as $$
begin
    if not exists (select from pg_timezone_names where name = zone) then
        raise exception 'time zone % is not known to Postgres: take a name of pg_timezone_names, like Europe/Berlin', zone using errcode = 'invalid_parameter_value';
    end if;
    update klingwatch.report_state set time_zone = zone;
    update klingwatch.report_state set summarized_until = least(summarized_until, klingwatch.report_day());
    -- Tasks move by two days at most, also those of days that wait to be summarized. Days that have lost tasks to retention stay as they are.
    insert into klingwatch.days_to_summarize (day)
    select d::date
    from klingwatch.report_state s,
         lateral (select least((select min(day) from klingwatch.daily_summaries), (select min(day) from klingwatch.days_to_summarize), s.summarized_until) - 2 as first) f,
         generate_series(greatest(s.frozen_until, f.first), s.summarized_until, interval '1 day') as d;
end
$$;

create or replace function klingwatch.report_by_metadata(key text, since date default '-infinity')
    returns table (day date, value text, relay text, action text, action2 text, total bigint, open bigint, succeeded bigint, failed bigint,
                   expired bigint, not_found bigint, canceled bigint, units numeric)
    language sql stable
    begin atomic
        with state as (
            select s.time_zone, s.summarized_until, coalesce(report_by_metadata.since, '-infinity') as since,
                   exists (select from klingwatch.metadata_keys k where k.key = report_by_metadata.key) as summarized
            from klingwatch.report_state s
        )
        select m.day, m.value, m.relay, m.action, m.action2, m.total, m.open, m.succeeded, m.failed, m.expired, m.not_found, m.canceled, m.units
        from klingwatch.metadata_summaries m
        where m.key = report_by_metadata.key and m.day >= (select s.since from state s) and m.day < (select summarized_until from state)
        union all
        select *
        from klingwatch.metadata_by_day(report_by_metadata.key,
            (select case when summarized then greatest(s.since, summarized_until) else s.since end from state s), 'infinity', (select time_zone from state));
    end;

comment on function klingwatch.report_by_metadata(text, date) is 'Outcomes and units of tasks by day of insertion, value of a key of metadata, relay and path, from a day on; without one, or with null, of all days. Reads all tasks since then, unless klingwatch.summarize_metadata has been called for the key.';

-- A date in quotes comes here as well, so the day is that which the time has in the session's time zone.
create function klingwatch.report_by_metadata(key text, since timestamptz)
    returns table (day date, value text, relay text, action text, action2 text, total bigint, open bigint, succeeded bigint, failed bigint,
                   expired bigint, not_found bigint, canceled bigint, units numeric)
    language sql stable
    begin atomic
        select * from klingwatch.report_by_metadata(report_by_metadata.key, report_by_metadata.since::date);
    end;

comment on function klingwatch.report_by_metadata(text, timestamptz) is 'The same from the day of a time on, such as now() - interval ''7 days'' or date_trunc(''month'', now()).';

create or replace function klingwatch.percentile(durations bigint[], fraction double precision) returns double precision
    language plpgsql immutable parallel safe
as $$
begin
    if fraction < 0 or fraction > 1 then
        raise exception using errcode = 'numeric_value_out_of_range', message = format('fraction: must be from 0 to 1, not %s', fraction),
            hint = 'the time within which 95 of 100 tasks ended is percentile(..., 0.95)';
    end if;
    return (
        with bucket as (
            select place, n, sum(n) over (order by place) as upto, fraction * sum(n) over () as wanted
            from unnest(durations) with ordinality as d(n, place)
        ), found as (
            select place, greatest((wanted - upto + n) / n, 0) as part
            from bucket
            where n > 0 and upto >= wanted
            order by place
            limit 1
        )
        select case when place = 1 then part else power(2, (place - 2 + part) / 8) end from found
    );
end
$$;

comment on function klingwatch.percentile(bigint[], double precision) is 'The seconds within which a fraction of a histogram''s tasks ended: percentile(merge_durations(durations), 0.95). It is off by 9 % at most, or less than a second where that is more, from the duration of the task at that place.';

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
