-- The rights of the two roles in one place: of what has come since 004 and 005, and for roles that are created later than the schema.

create function klingwatch.grant_roles() returns void
    language plpgsql
as $$
begin
    if exists (select from pg_roles where rolname = 'klingwatch_producer') then
        grant usage on schema klingwatch to klingwatch_producer;
        grant select on klingwatch.tasks to klingwatch_producer;
        grant insert (task_id, action, action2, external_id, callback_url, metadata, deadline_at)
            on klingwatch.tasks to klingwatch_producer;
    end if;
    if exists (select from pg_roles where rolname = 'klingwatch_reader') then
        grant usage on schema klingwatch to klingwatch_reader;
        grant select on klingwatch.tasks, klingwatch.outputs, klingwatch.events, klingwatch.webhook_endpoints,
            klingwatch.deliveries, klingwatch.delivery_attempts, klingwatch.redeliveries, klingwatch.polling_pauses,
            klingwatch.report_daily, klingwatch.report_failures, klingwatch.report_in_flight, klingwatch.report_outputs,
            klingwatch.report_webhooks, klingwatch.report_throughput to klingwatch_reader;
    end if;
end
$$;

comment on function klingwatch.grant_roles() is 'Gives klingwatch_producer and klingwatch_reader, where they exist, their rights.';
revoke all on function klingwatch.grant_roles() from public;

select klingwatch.grant_roles();
