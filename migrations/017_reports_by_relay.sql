-- The reports tell the relay, and who ended the tasks that failed. New columns come last, so that views of people's own stay valid.

alter table klingwatch.daily_summaries add column relay text not null default 'default';
alter table klingwatch.daily_summaries drop constraint daily_summaries_pkey, add primary key (day, relay, action, action2);
comment on column klingwatch.daily_summaries.relay is 'as in tasks';

alter table klingwatch.failure_summaries add column relay text not null default 'default', add column ended_by text;
update klingwatch.failure_summaries set ended_by = klingwatch.ender_of(status);
comment on column klingwatch.failure_summaries.relay is 'as in tasks';
comment on column klingwatch.failure_summaries.ended_by is 'as in tasks';

alter table klingwatch.usual_durations add column relay text not null default 'default';
alter table klingwatch.usual_durations drop constraint usual_durations_pkey, add primary key (relay, action, action2);
comment on column klingwatch.usual_durations.relay is 'as in tasks';

create function klingwatch.daily_tasks(since timestamptz, until timestamptz)
    returns table (day date, action text, action2 text, total bigint, pending bigint, submitted bigint, processing bigint, succeeded bigint,
                   failed bigint, expired bigint, not_found bigint, canceled bigint, seconds double precision[], processing_seconds double precision[],
                   polls numeric, units numeric, relay text)
    language sql stable
    begin atomic
        select klingwatch.utc_day(t.created_at), t.action, t.action2,
               count(*),
               count(*) filter (where t.status = 'pending'),
               count(*) filter (where t.status = 'submitted'),
               count(*) filter (where t.status = 'processing'),
               count(*) filter (where t.status = 'succeeded'),
               count(*) filter (where t.status = 'failed'),
               count(*) filter (where t.status = 'expired'),
               count(*) filter (where t.status = 'not_found'),
               count(*) filter (where t.status = 'canceled'),
               percentile_cont(array[0.5, 0.9, 0.99]) within group (order by extract(epoch from t.finished_at - t.created_at)::double precision)
                   filter (where t.status in ('succeeded', 'failed') and t.retried_at is null),
               percentile_cont(array[0.5, 0.9, 0.99]) within group (order by extract(epoch from t.finished_at - t.processing_at)::double precision)
                   filter (where t.status in ('succeeded', 'failed') and t.processing_at is not null and t.retried_at is null),
               avg(t.polls),
               sum(t.unit_deduction),
               t.relay
        from klingwatch.tasks t
        where t.created_at >= since and t.created_at < until
        group by klingwatch.utc_day(t.created_at), t.relay, t.action, t.action2;
    end;

comment on function klingwatch.daily_tasks(timestamptz, timestamptz) is 'Tasks inserted in a time by day, relay and kind; seconds are p50, p90 and p99.';

create function klingwatch.daily_failures(since timestamptz, until timestamptz)
    returns table (day date, action text, action2 text, status text, error_code text, reason text, tasks bigint,
                   first_seen timestamptz, last_seen timestamptz, example bigint,
                   relay text, ended_by text)
    language sql stable
    begin atomic
        select klingwatch.utc_day(t.created_at), t.action, t.action2, t.status, t.error_code, klingwatch.short_reason(t.status_message),
               count(*), min(t.finished_at), max(t.finished_at), max(t.id),
               t.relay, coalesce(t.ended_by, klingwatch.ender_of(t.status))
        from klingwatch.tasks t
        where t.created_at >= since and t.created_at < until and t.status in ('failed', 'expired', 'not_found')
        group by 1, 2, 3, 4, 5, 6, 11, 12;
    end;

comment on function klingwatch.daily_failures(timestamptz, timestamptz) is 'Tasks inserted in a time that failed, by day, relay, kind, reason and who ended them.';

create or replace function klingwatch.summarize_day(wanted date) returns void
    language plpgsql
as $$
begin
    delete from klingwatch.daily_summaries where day = wanted;
    insert into klingwatch.daily_summaries
    select * from klingwatch.daily_tasks(klingwatch.utc_midnight(wanted), klingwatch.utc_midnight(wanted + 1));
    delete from klingwatch.failure_summaries where day = wanted;
    insert into klingwatch.failure_summaries
    select * from klingwatch.daily_failures(klingwatch.utc_midnight(wanted), klingwatch.utc_midnight(wanted + 1));
end
$$;

create or replace function klingwatch.refresh_reports(today date default klingwatch.utc_day(now())) returns int
    language plpgsql
as $$
declare
    state klingwatch.report_state;
    until date;
    wanted date;
    days int := 0;
begin
    select * into state from klingwatch.report_state for update skip locked;
    if not found then
        return 0; -- another instance is at it
    end if;
    until := least(today, state.summarized_until + 31); -- after an upgrade there may be years to do: some at a time
    for wanted in
        select d::date from generate_series(state.summarized_until, until - 1, interval '1 day') as d
        union
        -- earlier days whose tasks have changed; a minute more, for transactions that committed late
        select klingwatch.utc_day(t.created_at)
        from klingwatch.events e
        join klingwatch.tasks t on t.id = e.task
        where e.created_at >= state.refreshed_at - interval '1 minute' and t.created_at < klingwatch.utc_midnight(state.summarized_until)
        union
        -- and those with tasks that are open again, which makes no event
        select o.day
        from (select klingwatch.utc_day(created_at) as day, count(*) as tasks
              from klingwatch.tasks
              where finished_at is null and created_at < klingwatch.utc_midnight(state.summarized_until)
              group by 1) as o
        left join (select day, sum(pending + submitted + processing) as tasks from klingwatch.daily_summaries group by day) as s using (day)
        where o.tasks is distinct from s.tasks
    loop
        continue when wanted < state.frozen_until;
        perform klingwatch.summarize_day(wanted);
        days := days + 1;
    end loop;

    insert into klingwatch.usual_durations (action, action2, tasks, p50, p90, relay)
    select t.action, t.action2, count(*),
           percentile_cont(0.5) within group (order by t.finished_at - t.created_at),
           percentile_cont(0.9) within group (order by t.finished_at - t.created_at),
           t.relay
    from (select * from klingwatch.tasks order by id desc limit 20000) as t
    where t.status in ('succeeded', 'failed') and t.retried_at is null
    group by t.relay, t.action, t.action2
    on conflict (relay, action, action2) do update set tasks = excluded.tasks, p50 = excluded.p50, p90 = excluded.p90;

    update klingwatch.report_state set summarized_until = greatest(state.summarized_until, until), refreshed_at = now();
    return days;
end
$$;

create or replace view klingwatch.report_daily as
with everything as (
    select * from klingwatch.daily_summaries
    where day < (select summarized_until from klingwatch.report_state)
    union all
    select * from klingwatch.daily_tasks(klingwatch.utc_midnight((select summarized_until from klingwatch.report_state)), 'infinity')
)
select day, action, action2, total, pending, submitted, processing, succeeded, failed, expired, not_found, canceled,
       round(succeeded::numeric / nullif(succeeded + failed + expired + not_found, 0), 4) as success_rate,
       seconds[1] as p50_seconds, seconds[2] as p90_seconds, seconds[3] as p99_seconds,
       processing_seconds[1] as processing_p50_seconds, processing_seconds[2] as processing_p90_seconds, processing_seconds[3] as processing_p99_seconds,
       round(polls, 2) as polls_per_task,
       coalesce(units, 0) as units,
       relay
from everything;

comment on view klingwatch.report_daily is 'Tasks by the day of their insertion (UTC), relay and kind. Changes of tasks from before today show within a minute.';
comment on column klingwatch.report_daily.relay is 'as in tasks';

create or replace view klingwatch.report_failures as
with everything as (
    select * from klingwatch.failure_summaries
    where day < (select summarized_until from klingwatch.report_state)
    union all
    select * from klingwatch.daily_failures(klingwatch.utc_midnight((select summarized_until from klingwatch.report_state)), 'infinity')
)
select status, error_code, reason, sum(tasks)::bigint as tasks, min(first_seen) as first_seen, max(last_seen) as last_seen,
       (array_agg(example order by last_seen desc))[1] as example,
       relay, ended_by
from everything
group by relay, status, ended_by, error_code, reason;

comment on column klingwatch.report_failures.relay is 'as in tasks';
comment on column klingwatch.report_failures.ended_by is 'provider (its own word), relay (its time-out or trouble) or klingwatch (expired, not_found)';

create or replace view klingwatch.report_in_flight as
select t.id, t.task_id, t.action, t.action2, t.external_id, t.status,
       round(extract(epoch from now() - t.created_at), 1) as age_seconds,
       t.polls, t.last_error, t.deadline_at,
       t.created_at + u.p50 as expected_end,
       coalesce(now() > t.created_at + u.p90, false) as overdue,
       t.relay
from klingwatch.tasks t
left join klingwatch.usual_durations u on u.relay = t.relay and u.action = t.action and u.action2 = t.action2
where t.finished_at is null;

comment on column klingwatch.report_in_flight.relay is 'as in tasks';

create or replace view klingwatch.report_outputs as
select o.task, t.task_id, t.action, t.action2, t.external_id, o.kind, o.position, o.url, o.watermark_url, o.duration_seconds, t.finished_at, o.expires_at,
       round(extract(epoch from o.expires_at - now()) / 86400, 1) as days_until_expiry,
       t.relay, o.needs_key
from klingwatch.outputs o
join klingwatch.tasks t on t.id = o.task;

comment on column klingwatch.report_outputs.relay is 'as in tasks';
comment on column klingwatch.report_outputs.needs_key is 'true for a link of the relay''s own that answers only with the relay''s key';

drop function klingwatch.daily_rows(timestamptz, timestamptz), klingwatch.failure_rows(timestamptz, timestamptz);

create view klingwatch.report_relays as
select r.name, r.base_url, r.task_path, case when r.task_path like '%{task_ids}%' then r.batch_size else 1 end as batch_size, r.poll_rate, r.output_lifetime,
       r.key_source, r.credential, p.paused_at, p.reason as pause_reason, p.probe_at,
       coalesce(t.open_tasks, 0) as open_tasks, coalesce(t.in_trouble, 0) as in_trouble
from klingwatch.relays r
left join klingwatch.polling_pauses p on p.credential = r.credential and p.confirmed and p.probe_at > now() - interval '5 minutes'
left join (select relay, count(*) as open_tasks, count(last_error) as in_trouble from klingwatch.tasks where finished_at is null group by relay) t on t.relay = r.name;

comment on view klingwatch.report_relays is 'Relays with their pause and their open tasks.';
comment on column klingwatch.report_relays.name is 'as in relays';
comment on column klingwatch.report_relays.base_url is 'as in relays';
comment on column klingwatch.report_relays.task_path is 'as in relays';
comment on column klingwatch.report_relays.batch_size is 'most ids in one request; 1 where task_path takes one';
comment on column klingwatch.report_relays.poll_rate is 'as in relays';
comment on column klingwatch.report_relays.output_lifetime is 'as in relays';
comment on column klingwatch.report_relays.key_source is 'as in relays';
comment on column klingwatch.report_relays.credential is 'as in relays; null until a service has used its key';
comment on column klingwatch.report_relays.paused_at is 'since when nothing is asked, because the relay refuses the key; null while it is asked';
comment on column klingwatch.report_relays.pause_reason is 'what the relay answered';
comment on column klingwatch.report_relays.probe_at is 'when it is asked again whether it accepts the key';
comment on column klingwatch.report_relays.open_tasks is 'tasks that have not ended';
comment on column klingwatch.report_relays.in_trouble is 'of them, those whose last poll brought no answer';

-- The rights of the roles, with those of the relays.

create or replace function klingwatch.grant_roles() returns void
    language plpgsql
as $$
begin
    if exists (select from pg_roles where rolname = 'klingwatch_producer') then
        grant usage on schema klingwatch to klingwatch_producer;
        grant select on klingwatch.tasks to klingwatch_producer;
        grant insert (task_id, action, action2, external_id, callback_url, metadata, deadline_at, relay)
            on klingwatch.tasks to klingwatch_producer;
        grant select (name, base_url, task_path) on klingwatch.relays to klingwatch_producer;
    end if;
    if exists (select from pg_roles where rolname = 'klingwatch_reader') then
        grant usage on schema klingwatch to klingwatch_reader;
        grant select on klingwatch.tasks, klingwatch.outputs, klingwatch.events, klingwatch.webhook_endpoints,
            klingwatch.deliveries, klingwatch.delivery_attempts, klingwatch.redeliveries, klingwatch.polling_pauses,
            klingwatch.report_daily, klingwatch.report_failures, klingwatch.report_in_flight, klingwatch.report_outputs,
            klingwatch.report_webhooks, klingwatch.report_throughput,
            klingwatch.report_relays to klingwatch_reader;
        -- all but stored_key
        grant select (id, name, base_url, task_path, batch_size, poll_rate, output_lifetime, key_source, key_file, access_key, secret_key_file,
                      credential, version, created_at, changed_at) on klingwatch.relays to klingwatch_reader;
    end if;
end
$$;

select klingwatch.grant_roles();
