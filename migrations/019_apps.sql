-- Apps apart: a row belongs to the app that inserted it, and a login in role klingwatch_producer meets no others. A third role, for
-- those who operate.

-- First a default that never changes, so that no row is rewritten: '' are the tasks from before, which every app goes on seeing.
alter table klingwatch.tasks add column app text not null default '';
alter table klingwatch.tasks alter column app set default current_user;
comment on column klingwatch.tasks.app is 'the role that inserted it; an app (a login in role klingwatch_producer) meets only its own tasks, and those from before there was this column, which have none';

create function klingwatch.acts_for_one_app(role name default current_user) returns boolean
    language sql stable parallel safe
    begin atomic
        select coalesce(bool_and(rolname = 'klingwatch_producer'), false)
        from pg_roles
        where rolname in ('klingwatch_producer', 'klingwatch_reader', 'klingwatch_operator') and pg_has_role(role, oid, 'usage');
    end;

comment on function klingwatch.acts_for_one_app(name) is 'True for a role that is a klingwatch_producer and nothing more: it meets the tasks of its own app only.';

-- The owner passes by these. All other roles see what their grants give them, except that apps see their own. The question what a role
-- is, is asked once in a statement, and not at all where all rows are its own.
create policy apps on klingwatch.tasks
    using (app = current_user::text or app = '' or not (select klingwatch.acts_for_one_app()))
    with check (app = current_user::text or not (select klingwatch.acts_for_one_app()));
create policy apps on klingwatch.outputs
    using (not (select klingwatch.acts_for_one_app()) or exists (select from klingwatch.tasks t where t.id = task));
create policy apps on klingwatch.events
    using (not (select klingwatch.acts_for_one_app()) or exists (select from klingwatch.tasks t where t.id = task));

alter table klingwatch.tasks enable row level security;
alter table klingwatch.outputs enable row level security;
alter table klingwatch.events enable row level security;

-- A deadline that has passed is a mistake, of units or of a time zone: the task would expire before anybody asks about it.
create function klingwatch.refuse_past_deadline() returns trigger
    language plpgsql
as $$
begin
    raise exception using errcode = 'check_violation', message = format('deadline_at: must be in the future, not %s', new.deadline_at),
        hint = 'leave it out to use KLINGWATCH_TASK_DEADLINE, or give a time with its zone, such as now() + interval ''1 day''';
end
$$;

create trigger refuse_past_deadline before insert on klingwatch.tasks
    for each row when (new.deadline_at <= now() and new.finished_at is null and new.created_at >= now())
    execute function klingwatch.refuse_past_deadline();

do $$
begin
    if not exists (select from pg_roles where rolname = 'klingwatch_operator') then
        create role klingwatch_operator nologin;
    end if;
exception
    when duplicate_object or unique_violation then null; -- another database of the cluster was faster
    when insufficient_privilege then
        raise warning 'role klingwatch_operator was not created: the migrating user lacks CREATEROLE; create it and run: select klingwatch.grant_roles()';
end
$$;

-- Timeouts belong to the role that logs in, so a role that was made by hand, in klingwatch_reader, needs its own.
create function klingwatch.roles_without_timeouts() returns setof name
    language sql stable
    begin atomic
        select r.rolname
        from pg_roles r
        where (r.rolname in ('klingwatch_reader', 'klingwatch_operator')
               or r.rolcanlogin and exists (select from pg_roles g where g.rolname in ('klingwatch_reader', 'klingwatch_operator') and pg_has_role(r.oid, g.oid, 'usage')))
          -- klingwatch itself sets its own
          and not r.rolsuper
          and not pg_has_role(r.oid, (select relowner from pg_class where oid = 'klingwatch.tasks'::regclass), 'usage')
          and exists (
              select from unnest(array['statement_timeout', 'idle_in_transaction_session_timeout']) as needed
              where not exists (
                  select from pg_db_role_setting s, unnest(s.setconfig) as setting
                  where s.setrole = r.oid and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
                    and split_part(setting, '=', 1) = needed and split_part(setting, '=', 2) <> '0'))
        order by r.rolname;
    end;

comment on function klingwatch.roles_without_timeouts() is 'Roles that read and could keep a snapshot open for ever: klingwatch_reader, klingwatch_operator and the logins in them, where a timeout lacks.';

create or replace function klingwatch.grant_roles() returns void
    language plpgsql
as $$
declare
    wanted text;
begin
    foreach wanted in array array['klingwatch_producer', 'klingwatch_reader', 'klingwatch_operator'] loop
        continue when not exists (select from pg_roles where rolname = wanted);
        execute format('grant usage on schema klingwatch to %I', wanted);
        -- a command looks first whether the schema is the one that it knows
        execute format('grant select on klingwatch.migrations to %I', wanted);
        execute format('grant select on klingwatch.tasks, klingwatch.outputs, klingwatch.events to %I', wanted);

        if wanted = 'klingwatch_producer' then
            -- status and everything found out is klingwatch's to write
            grant insert (task_id, action, action2, external_id, callback_url, metadata, deadline_at, relay, app)
                on klingwatch.tasks to klingwatch_producer;
            grant select (name, base_url, task_path) on klingwatch.relays to klingwatch_producer;
            continue;
        end if;

        execute format('grant select on klingwatch.webhook_endpoints, klingwatch.deliveries, klingwatch.delivery_attempts,
            klingwatch.redeliveries, klingwatch.polling_pauses, klingwatch.live_jobs, klingwatch.usual_durations,
            klingwatch.report_daily, klingwatch.report_failures, klingwatch.report_in_flight, klingwatch.report_outputs,
            klingwatch.report_webhooks, klingwatch.report_throughput, klingwatch.report_relays to %I', wanted);
        -- all but stored_key
        execute format('grant select (id, name, base_url, task_path, batch_size, poll_rate, output_lifetime, key_source, key_file, access_key,
            secret_key_file, credential, version, created_at, changed_at) on klingwatch.relays to %I', wanted);

        if wanted = 'klingwatch_operator' then
            -- No table as a whole may be changed, tasks least: a session's locks count as klingwatch's where its role may change tasks.
            grant update (disabled_at, disabled_reason, revision, failing_since, last_failed_at, failures, warned_at, last_error)
                on klingwatch.webhook_endpoints to klingwatch_operator;
            grant update (state, url, next_attempt_at, delivered_at, tries_before, tries_since, held_since, last_error)
                on klingwatch.deliveries to klingwatch_operator;
            grant insert (endpoint, since, until, states, per_second, last, matched), update (finished_at)
                on klingwatch.redeliveries to klingwatch_operator;
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

comment on function klingwatch.grant_roles() is 'Gives klingwatch_producer, klingwatch_reader and klingwatch_operator, where they exist, their rights, and those who log in to read their timeouts.';

select klingwatch.grant_roles();
