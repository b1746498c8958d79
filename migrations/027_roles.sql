-- The rights of the roles on all that there is, in one function, which makes up for roles that are created later.

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
    report regclass;
begin
    foreach wanted in array array['klingwatch_producer', 'klingwatch_reader', 'klingwatch_operator'] loop
        continue when not exists (select from pg_roles where rolname = wanted);
        execute format('grant usage on schema klingwatch to %I', wanted);
        -- a command looks first whether the schema is the one that it knows
        execute format('grant select on klingwatch.migrations to %I', wanted);
        execute format('grant select on klingwatch.tasks, klingwatch.outputs, klingwatch.events to %I', wanted);

        if wanted in ('klingwatch_producer', 'klingwatch_operator') then
            execute format('grant execute on function klingwatch.cancel(bigint), klingwatch.cancel(bigint[]), klingwatch.retry(bigint, interval),
                klingwatch.retry(bigint[], interval) to %I', wanted);
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

comment on function klingwatch.grant_roles() is 'Gives klingwatch_producer, klingwatch_reader and klingwatch_operator, where they exist, their rights, and those who log in to read their timeouts.';
revoke all on function klingwatch.grant_roles() from public;

select klingwatch.grant_roles();
