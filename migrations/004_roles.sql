-- Two roles that cannot log in until they get a password: alter role klingwatch_reader login password '...'.
-- Granted to a role of yours they give their rights, but not their timeouts: those belong to the role that logs in.
-- A migrating user without CREATEROLE gets a warning, and everything else.

do $$
declare
    wanted text;
begin
    foreach wanted in array array['klingwatch_producer', 'klingwatch_reader'] loop
        if not exists (select from pg_roles where rolname = wanted) then
            begin
                execute format('create role %I nologin', wanted);
            exception
                when duplicate_object or unique_violation then null; -- another database of the cluster was faster
                when insufficient_privilege then
                    raise warning 'role % was not created: the migrating user lacks CREATEROLE; create it and run the grants of migrations/004_roles.sql', wanted;
            end;
        end if;
    end loop;

    if exists (select from pg_roles where rolname = 'klingwatch_producer') then
        grant usage on schema klingwatch to klingwatch_producer;
        grant select on klingwatch.tasks to klingwatch_producer;
        -- status and everything found out is klingwatch's to write
        grant insert (task_id, action, action2, external_id, callback_url, metadata, deadline_at)
            on klingwatch.tasks to klingwatch_producer;
    end if;

    if exists (select from pg_roles where rolname = 'klingwatch_reader') then
        grant usage on schema klingwatch to klingwatch_reader;
        grant select on klingwatch.tasks, klingwatch.outputs, klingwatch.events, klingwatch.webhook_endpoints,
            klingwatch.deliveries, klingwatch.delivery_attempts to klingwatch_reader;
        begin
            -- a long snapshot keeps dead rows of the queue alive
            alter role klingwatch_reader set statement_timeout = '60s';
            alter role klingwatch_reader set idle_in_transaction_session_timeout = '60s';
        exception when others then
            raise warning 'the timeouts of klingwatch_reader were not set: %', sqlerrm;
        end;
    end if;
end
$$;
