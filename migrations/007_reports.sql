-- What people ask every day, as views. Past days are summarized by klingwatch.refresh_reports(), which a service calls once a minute,
-- so that the views answer at once however many tasks there are; today is read from the tasks themselves.

-- Rows come in the order of these times: a block range index finds a day in a million rows and costs an insert next to nothing.
create index tasks_created_at on klingwatch.tasks using brin (created_at) with (autosummarize = on, pages_per_range = 16);
create index events_created_at on klingwatch.events using brin (created_at) with (autosummarize = on, pages_per_range = 16);
create index deliveries_created_at on klingwatch.deliveries using brin (created_at) with (autosummarize = on, pages_per_range = 16);
create index deliveries_exhausted on klingwatch.deliveries (id) where state = 'exhausted';
create index outputs_expires_at on klingwatch.outputs using brin (expires_at) with (autosummarize = on, pages_per_range = 16);

-- The time that a task lay finished before it was asked again is no part of how long it took.
alter table klingwatch.tasks add column retried_at timestamptz;
comment on column klingwatch.tasks.retried_at is 'when a person had it asked again last (klingwatch retry); its durations are in no report then';

create function klingwatch.utc_day(at timestamptz) returns date
    language sql immutable parallel safe
    return (at at time zone 'UTC')::date;

comment on function klingwatch.utc_day(timestamptz) is 'The day of a time, in UTC.';

create function klingwatch.utc_midnight(day date) returns timestamptz
    language sql immutable parallel safe
    return day::timestamp at time zone 'UTC';

comment on function klingwatch.utc_midnight(date) is 'When a day begins, in UTC.';

create function klingwatch.receiver_host(url text) returns text
    language sql immutable parallel safe
    return lower(substring(url from '^[a-zA-Z]+://[^/?#]+'));

comment on function klingwatch.receiver_host(text) is 'Scheme and host of a webhook receiver.';

create function klingwatch.short_reason(status_message text) returns text
    language sql immutable parallel safe
    return left(regexp_replace(status_message, '[0-9a-fA-F-]{16,}|[0-9]+', '#', 'g'), 200);

comment on function klingwatch.short_reason(text) is 'A status_message without the numbers and ids in it, so that equal reasons group.';

create function klingwatch.daily_rows(since timestamptz, until timestamptz)
    returns table (day date, action text, action2 text, total bigint, pending bigint, submitted bigint, processing bigint, succeeded bigint,
                   failed bigint, expired bigint, not_found bigint, canceled bigint, seconds double precision[], processing_seconds double precision[],
                   polls numeric, units numeric)
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
               sum(t.unit_deduction)
        from klingwatch.tasks t
        where t.created_at >= since and t.created_at < until
        group by 1, 2, 3;
    end;

comment on function klingwatch.daily_rows(timestamptz, timestamptz) is 'Tasks inserted in a time by day and kind; seconds are p50, p90 and p99.';

create function klingwatch.failure_rows(since timestamptz, until timestamptz)
    returns table (day date, action text, action2 text, status text, error_code text, reason text, tasks bigint,
                   first_seen timestamptz, last_seen timestamptz, example bigint)
    language sql stable
    begin atomic
        select klingwatch.utc_day(t.created_at), t.action, t.action2, t.status, t.error_code, klingwatch.short_reason(t.status_message),
               count(*), min(t.finished_at), max(t.finished_at), max(t.id)
        from klingwatch.tasks t
        where t.created_at >= since and t.created_at < until and t.status in ('failed', 'expired', 'not_found')
        group by 1, 2, 3, 4, 5, 6;
    end;

comment on function klingwatch.failure_rows(timestamptz, timestamptz) is 'Tasks inserted in a time that failed, by day, kind and reason.';

-- The summaries: rows of the functions above, for days that are over.

create table klingwatch.daily_summaries (
    day                date not null,
    action             text not null,
    action2            text not null,
    total              bigint not null,
    pending            bigint not null,
    submitted          bigint not null,
    processing         bigint not null,
    succeeded          bigint not null,
    failed             bigint not null,
    expired            bigint not null,
    not_found          bigint not null,
    canceled           bigint not null,
    seconds            double precision[],
    processing_seconds double precision[],
    polls              numeric not null,
    units              numeric,
    primary key (day, action, action2)
);

comment on table klingwatch.daily_summaries is 'Past days of report_daily; read the view.';
comment on column klingwatch.daily_summaries.day is 'day of insertion, UTC';
comment on column klingwatch.daily_summaries.action is 'as in tasks';
comment on column klingwatch.daily_summaries.action2 is 'as in tasks';
comment on column klingwatch.daily_summaries.total is 'tasks';
comment on column klingwatch.daily_summaries.pending is 'tasks with this status';
comment on column klingwatch.daily_summaries.submitted is 'tasks with this status';
comment on column klingwatch.daily_summaries.processing is 'tasks with this status';
comment on column klingwatch.daily_summaries.succeeded is 'tasks with this status';
comment on column klingwatch.daily_summaries.failed is 'tasks with this status';
comment on column klingwatch.daily_summaries.expired is 'tasks with this status';
comment on column klingwatch.daily_summaries.not_found is 'tasks with this status';
comment on column klingwatch.daily_summaries.canceled is 'tasks with this status';
comment on column klingwatch.daily_summaries.seconds is 'p50, p90 and p99 from insert to end';
comment on column klingwatch.daily_summaries.processing_seconds is 'p50, p90 and p99 from first seen processing to end';
comment on column klingwatch.daily_summaries.polls is 'average per task';
comment on column klingwatch.daily_summaries.units is 'sum of unit_deduction';

create table klingwatch.failure_summaries (
    day        date not null,
    action     text not null,
    action2    text not null,
    status     text not null,
    error_code text,
    reason     text not null,
    tasks      bigint not null,
    first_seen timestamptz not null,
    last_seen  timestamptz not null,
    example    bigint not null
);

create index failure_summaries_day on klingwatch.failure_summaries (day);

comment on table klingwatch.failure_summaries is 'Past days of report_failures; read the view.';
comment on column klingwatch.failure_summaries.day is 'day of insertion, UTC';
comment on column klingwatch.failure_summaries.action is 'as in tasks';
comment on column klingwatch.failure_summaries.action2 is 'as in tasks';
comment on column klingwatch.failure_summaries.status is 'failed, expired or not_found';
comment on column klingwatch.failure_summaries.error_code is 'the relay''s code';
comment on column klingwatch.failure_summaries.reason is 'short_reason of status_message';
comment on column klingwatch.failure_summaries.tasks is 'tasks that ended so';
comment on column klingwatch.failure_summaries.first_seen is 'end of the first';
comment on column klingwatch.failure_summaries.last_seen is 'end of the last';
comment on column klingwatch.failure_summaries.example is 'tasks.id of the newest';

create table klingwatch.usual_durations (
    action  text not null,
    action2 text not null,
    tasks   bigint not null,
    p50     interval not null,
    p90     interval not null,
    primary key (action, action2)
);

comment on table klingwatch.usual_durations is 'How long recent tasks of each kind ran, from insert to end; for report_in_flight.';
comment on column klingwatch.usual_durations.action is 'as in tasks';
comment on column klingwatch.usual_durations.action2 is 'as in tasks';
comment on column klingwatch.usual_durations.tasks is 'how many were looked at';
comment on column klingwatch.usual_durations.p50 is 'half of them had ended at that age';
comment on column klingwatch.usual_durations.p90 is 'nine tenths had ended at that age';

create table klingwatch.report_state (
    one              boolean primary key default true check (one),
    summarized_until date not null,
    frozen_until     date not null default '-infinity',
    refreshed_at     timestamptz not null
);

comment on table klingwatch.report_state is 'One row: how far the summaries are.';
comment on column klingwatch.report_state.one is 'there is one row';
comment on column klingwatch.report_state.summarized_until is 'days before are in the summaries, this one and later are read from the tasks';
comment on column klingwatch.report_state.frozen_until is 'days before have lost tasks to retention: their summaries stay as they are';
comment on column klingwatch.report_state.refreshed_at is 'changes before are in the summaries';

insert into klingwatch.report_state (summarized_until, refreshed_at)
select klingwatch.utc_day(coalesce(min(created_at), now())), now() from klingwatch.tasks;

create function klingwatch.summarize_day(wanted date) returns void
    language plpgsql
as $$
begin
    delete from klingwatch.daily_summaries where day = wanted;
    insert into klingwatch.daily_summaries
    select * from klingwatch.daily_rows(klingwatch.utc_midnight(wanted), klingwatch.utc_midnight(wanted + 1));
    delete from klingwatch.failure_summaries where day = wanted;
    insert into klingwatch.failure_summaries
    select * from klingwatch.failure_rows(klingwatch.utc_midnight(wanted), klingwatch.utc_midnight(wanted + 1));
end
$$;

comment on function klingwatch.summarize_day(date) is 'Writes the summaries of a day anew.';

create function klingwatch.refresh_reports(today date default klingwatch.utc_day(now())) returns int
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

    insert into klingwatch.usual_durations
    select t.action, t.action2, count(*),
           percentile_cont(0.5) within group (order by t.finished_at - t.created_at),
           percentile_cont(0.9) within group (order by t.finished_at - t.created_at)
    from (select * from klingwatch.tasks order by id desc limit 20000) as t
    where t.status in ('succeeded', 'failed') and t.retried_at is null
    group by 1, 2
    on conflict (action, action2) do update set tasks = excluded.tasks, p50 = excluded.p50, p90 = excluded.p90;

    update klingwatch.report_state set summarized_until = greatest(state.summarized_until, until), refreshed_at = now();
    return days;
end
$$;

comment on function klingwatch.refresh_reports(date) is 'Brings the summaries behind the report views up to date; returns how many days were written. Called by every service once a minute.';

-- The views.

create view klingwatch.report_daily as
with everything as (
    select * from klingwatch.daily_summaries
    where day < (select summarized_until from klingwatch.report_state)
    union all
    select * from klingwatch.daily_rows(klingwatch.utc_midnight((select summarized_until from klingwatch.report_state)), 'infinity')
)
select day, action, action2, total, pending, submitted, processing, succeeded, failed, expired, not_found, canceled,
       round(succeeded::numeric / nullif(succeeded + failed + expired + not_found, 0), 4) as success_rate,
       seconds[1] as p50_seconds, seconds[2] as p90_seconds, seconds[3] as p99_seconds,
       processing_seconds[1] as processing_p50_seconds, processing_seconds[2] as processing_p90_seconds, processing_seconds[3] as processing_p99_seconds,
       round(polls, 2) as polls_per_task,
       coalesce(units, 0) as units
from everything;

comment on view klingwatch.report_daily is 'Tasks by the day of their insertion (UTC) and kind. Changes of tasks from before today show within a minute.';
comment on column klingwatch.report_daily.day is 'day of insertion, UTC';
comment on column klingwatch.report_daily.action is 'as in tasks';
comment on column klingwatch.report_daily.action2 is 'as in tasks';
comment on column klingwatch.report_daily.total is 'tasks inserted';
comment on column klingwatch.report_daily.pending is 'of them, now pending';
comment on column klingwatch.report_daily.submitted is 'of them, now submitted';
comment on column klingwatch.report_daily.processing is 'of them, now processing';
comment on column klingwatch.report_daily.succeeded is 'of them, succeeded';
comment on column klingwatch.report_daily.failed is 'of them, failed: the provider said so';
comment on column klingwatch.report_daily.expired is 'of them, expired: not ended by the deadline';
comment on column klingwatch.report_daily.not_found is 'of them, unknown to the relay';
comment on column klingwatch.report_daily.canceled is 'of them, canceled by a person';
comment on column klingwatch.report_daily.success_rate is 'succeeded as part of those that ended, canceled ones left out; null when none has ended';
comment on column klingwatch.report_daily.p50_seconds is 'median time from insert to end, of those that succeeded or failed and were not retried';
comment on column klingwatch.report_daily.p90_seconds is 'nine tenths ended within this time';
comment on column klingwatch.report_daily.p99_seconds is '99 of 100 ended within this time';
comment on column klingwatch.report_daily.processing_p50_seconds is 'median time from first seen processing to end';
comment on column klingwatch.report_daily.processing_p90_seconds is 'nine tenths, from first seen processing to end';
comment on column klingwatch.report_daily.processing_p99_seconds is '99 of 100, from first seen processing to end';
comment on column klingwatch.report_daily.polls_per_task is 'questions to the relay per task, as of the last write';
comment on column klingwatch.report_daily.units is 'units charged by the provider';

create view klingwatch.report_failures as
with everything as (
    select * from klingwatch.failure_summaries
    where day < (select summarized_until from klingwatch.report_state)
    union all
    select * from klingwatch.failure_rows(klingwatch.utc_midnight((select summarized_until from klingwatch.report_state)), 'infinity')
)
select status, error_code, reason, sum(tasks)::bigint as tasks, min(first_seen) as first_seen, max(last_seen) as last_seen,
       (array_agg(example order by last_seen desc))[1] as example
from everything
group by status, error_code, reason;

comment on view klingwatch.report_failures is 'Why tasks did not succeed, grouped. Changes of tasks from before today show within a minute.';
comment on column klingwatch.report_failures.status is 'failed, expired or not_found';
comment on column klingwatch.report_failures.error_code is 'the relay''s code, null where it gave none';
comment on column klingwatch.report_failures.reason is 'status_message with # for numbers and ids, at most 200 characters';
comment on column klingwatch.report_failures.tasks is 'tasks that ended so';
comment on column klingwatch.report_failures.first_seen is 'end of the first';
comment on column klingwatch.report_failures.last_seen is 'end of the last';
comment on column klingwatch.report_failures.example is 'tasks.id of a late one; klingwatch show tells all about it';

create view klingwatch.report_in_flight as
select t.id, t.task_id, t.action, t.action2, t.external_id, t.status,
       round(extract(epoch from now() - t.created_at), 1) as age_seconds,
       t.polls, t.last_error, t.deadline_at,
       t.created_at + u.p50 as expected_end,
       coalesce(now() > t.created_at + u.p90, false) as overdue
from klingwatch.tasks t
left join klingwatch.usual_durations u on u.action = t.action and u.action2 = t.action2
where t.finished_at is null;

comment on view klingwatch.report_in_flight is 'Tasks that have not ended.';
comment on column klingwatch.report_in_flight.id is 'tasks.id';
comment on column klingwatch.report_in_flight.task_id is 'the provider''s id';
comment on column klingwatch.report_in_flight.action is 'as in tasks';
comment on column klingwatch.report_in_flight.action2 is 'as in tasks';
comment on column klingwatch.report_in_flight.external_id is 'the caller''s reference';
comment on column klingwatch.report_in_flight.status is 'pending, submitted or processing';
comment on column klingwatch.report_in_flight.age_seconds is 'since insertion';
comment on column klingwatch.report_in_flight.polls is 'questions to the relay, as of the last write';
comment on column klingwatch.report_in_flight.last_error is 'what went wrong with the last poll; null when it was answered';
comment on column klingwatch.report_in_flight.deadline_at is 'when it becomes expired; null until the first write';
comment on column klingwatch.report_in_flight.expected_end is 'half of recent tasks of its kind had ended at that age; may be past; null where none has ended yet';
comment on column klingwatch.report_in_flight.overdue is 'older than nine tenths of recent tasks of its kind became';

create view klingwatch.report_outputs as
select o.task, t.task_id, t.action, t.action2, t.external_id, o.kind, o.position, o.url, o.watermark_url, o.duration_seconds, t.finished_at, o.expires_at,
       round(extract(epoch from o.expires_at - now()) / 86400, 1) as days_until_expiry
from klingwatch.outputs o
join klingwatch.tasks t on t.id = o.task;

comment on view klingwatch.report_outputs is 'The files of succeeded tasks. To find what expires soon, filter by expires_at: that is indexed.';
comment on column klingwatch.report_outputs.task is 'tasks.id';
comment on column klingwatch.report_outputs.task_id is 'the provider''s id';
comment on column klingwatch.report_outputs.action is 'as in tasks';
comment on column klingwatch.report_outputs.action2 is 'as in tasks';
comment on column klingwatch.report_outputs.external_id is 'the caller''s reference';
comment on column klingwatch.report_outputs.kind is 'image, video or audio';
comment on column klingwatch.report_outputs.position is 'order within the kind, from 0';
comment on column klingwatch.report_outputs.url is 'where the file is';
comment on column klingwatch.report_outputs.watermark_url is 'the same file with a watermark';
comment on column klingwatch.report_outputs.duration_seconds is 'length of a video or audio';
comment on column klingwatch.report_outputs.finished_at is 'end of the task';
comment on column klingwatch.report_outputs.expires_at is 'when the provider clears the file';
comment on column klingwatch.report_outputs.days_until_expiry is 'negative when it is past; null when unknown';

create view klingwatch.report_webhooks as
with recent as (
    select d.endpoint, case when d.endpoint is null then klingwatch.receiver_host(d.url) end as host,
           count(*) filter (where d.state = 'delivered') as delivered,
           percentile_cont(array[0.5, 0.99]) within group (order by extract(epoch from d.delivered_at - d.created_at)::double precision)
               filter (where d.state = 'delivered' and d.tries_since = d.created_at) as seconds,
           (array_agg(d.last_error order by d.id desc) filter (where d.last_error is not null))[1] as last_error
    from klingwatch.deliveries d
    where d.created_at >= now() - interval '1 day'
    group by 1, 2
), waiting as (
    select d.endpoint, case when d.endpoint is null then klingwatch.receiver_host(d.url) end as host,
           count(*) as pending, min(d.created_at) as oldest,
           (array_agg(d.last_error order by d.id desc) filter (where d.last_error is not null))[1] as last_error
    from klingwatch.deliveries d
    where d.state = 'pending'
    group by 1, 2
), given_up as (
    select d.endpoint, case when d.endpoint is null then klingwatch.receiver_host(d.url) end as host,
           count(*) as exhausted,
           (array_agg(d.last_error order by d.id desc) filter (where d.last_error is not null))[1] as last_error
    from klingwatch.deliveries d
    where d.state = 'exhausted'
    group by 1, 2
), receivers as (
    select id as endpoint, null as host from klingwatch.webhook_endpoints
    union
    select endpoint, host from recent
    union
    select endpoint, host from waiting
    union
    select endpoint, host from given_up
)
select r.endpoint, coalesce(w.url, r.host) as receiver,
       case when w.disabled_at is not null then 'disabled' when w.failing_since is not null then 'failing' else 'enabled' end as state,
       coalesce(c.delivered, 0) as delivered, coalesce(p.pending, 0) as pending, coalesce(g.exhausted, 0) as exhausted,
       c.seconds[1] as p50_seconds, c.seconds[2] as p99_seconds,
       p.oldest as oldest_pending,
       coalesce(w.disabled_reason, w.last_error, p.last_error, c.last_error, g.last_error) as last_error
from receivers r
left join klingwatch.webhook_endpoints w on w.id = r.endpoint
left join recent c on c.endpoint is not distinct from r.endpoint and c.host is not distinct from r.host
left join waiting p on p.endpoint is not distinct from r.endpoint and p.host is not distinct from r.host
left join given_up g on g.endpoint is not distinct from r.endpoint and g.host is not distinct from r.host;

comment on view klingwatch.report_webhooks is 'Receivers: endpoints, and the hosts of callback_url. delivered and the latencies are of the last day''s events.';
comment on column klingwatch.report_webhooks.endpoint is 'webhook_endpoints.id; null for callbacks';
comment on column klingwatch.report_webhooks.receiver is 'URL of the endpoint, or scheme and host of callbacks';
comment on column klingwatch.report_webhooks.state is 'enabled, failing or disabled; callbacks are always enabled';
comment on column klingwatch.report_webhooks.delivered is 'of the last day''s events, arrived';
comment on column klingwatch.report_webhooks.pending is 'still to arrive, of whatever age';
comment on column klingwatch.report_webhooks.exhausted is 'given up, of whatever age, as long as KLINGWATCH_DELIVERY_RETENTION keeps them';
comment on column klingwatch.report_webhooks.p50_seconds is 'median time from event to 2xx, of the last day; without those that were sent again by a person';
comment on column klingwatch.report_webhooks.p99_seconds is '99 of 100, from event to 2xx, of the last day';
comment on column klingwatch.report_webhooks.oldest_pending is 'event that waits longest';
comment on column klingwatch.report_webhooks.last_error is 'why it is disabled or failing, or what went wrong last';

create view klingwatch.report_throughput as
with minutes as (
    select generate_series(date_trunc('minute', now()) - interval '1 day' + interval '1 minute', date_trunc('minute', now()), interval '1 minute') as minute
), inserted as (
    select date_trunc('minute', created_at) as minute, count(*) as tasks
    from klingwatch.tasks
    where created_at >= now() - interval '1 day'
    group by 1
), told as (
    select date_trunc('minute', created_at) as minute,
           count(*) filter (where type = 'task.succeeded') as succeeded,
           count(*) filter (where type in ('task.failed', 'task.expired', 'task.not_found')) as failed,
           count(*) filter (where type = 'task.canceled') as canceled
    from klingwatch.events
    where created_at >= now() - interval '1 day'
    group by 1
), arrived as (
    select date_trunc('minute', delivered_at) as minute, count(*) as webhooks
    from klingwatch.deliveries
    where created_at >= now() - interval '1 day' and delivered_at is not null
    group by 1
)
select m.minute, coalesce(i.tasks, 0) as inserted, coalesce(t.succeeded, 0) as succeeded, coalesce(t.failed, 0) as failed,
       coalesce(t.canceled, 0) as canceled, coalesce(a.webhooks, 0) as webhooks
from minutes m
left join inserted i using (minute)
left join told t using (minute)
left join arrived a using (minute);

comment on view klingwatch.report_throughput is 'What happened in each minute of the last day.';
comment on column klingwatch.report_throughput.minute is 'beginning of the minute';
comment on column klingwatch.report_throughput.inserted is 'tasks inserted';
comment on column klingwatch.report_throughput.succeeded is 'tasks that succeeded';
comment on column klingwatch.report_throughput.failed is 'tasks that failed, expired or were not found';
comment on column klingwatch.report_throughput.canceled is 'tasks that a person canceled';
comment on column klingwatch.report_throughput.webhooks is 'webhooks of the last day''s events that arrived';

-- Tables that change all the time: vacuum and analyze them when a few percent have changed, not a fifth.
alter table klingwatch.tasks set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table klingwatch.deliveries set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table klingwatch.events set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
alter table klingwatch.outputs set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
alter table klingwatch.delivery_attempts set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);

revoke all on function klingwatch.refresh_reports(date), klingwatch.summarize_day(date) from public;
