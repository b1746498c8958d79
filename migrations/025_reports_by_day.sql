-- Reports by day: failures have their day and path, durations can be merged, days begin where the operator lives, and rows that were inserted
-- with an old created_at enter the summaries. New columns come last, so that views of people's own stay valid.

alter table klingwatch.report_state add column time_zone text not null default 'UTC';
comment on column klingwatch.report_state.time_zone is 'where the days of the reports begin; set by klingwatch.set_report_time_zone';

create function klingwatch.report_day(at timestamptz default now()) returns date
    language sql stable parallel safe
    return (at at time zone (select time_zone from klingwatch.report_state))::date;

comment on function klingwatch.report_day(timestamptz) is 'The day of a time in the reports'' time zone; without a time, today.';

-- Days that were summarized and have got other tasks since. No key and no lock: two backfills of one day do not wait for each other.
create table klingwatch.days_to_summarize (
    day  date not null,
    xact xid8 not null default pg_current_xact_id()
);

comment on table klingwatch.days_to_summarize is 'Past days whose summaries are to be written anew by the next refresh_reports.';
comment on column klingwatch.days_to_summarize.day is 'the day; may be there more than once';
comment on column klingwatch.days_to_summarize.xact is 'the transaction that wants it: one row is enough for each';

-- Those that are there lack the new columns, and have the reasons of before.
insert into klingwatch.days_to_summarize (day)
select distinct day from klingwatch.daily_summaries where day >= (select frozen_until from klingwatch.report_state);

update klingwatch.failure_summaries set reason = klingwatch.short_reason(reason)
where day < (select frozen_until from klingwatch.report_state) and reason <> klingwatch.short_reason(reason);

create function klingwatch.note_backfill() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    insert into klingwatch.days_to_summarize (day)
    select d.day
    from unnest(array[new.created_at, case when tg_op = 'UPDATE' then old.created_at end]) as t(at),
         klingwatch.report_day(t.at) as d(day)
    where d.day < klingwatch.report_day()
      and not exists (select from klingwatch.days_to_summarize s where s.day = d.day and s.xact = pg_current_xact_id());
    return null;
end
$$;

comment on function klingwatch.note_backfill() is 'Trigger: notes the past days of tasks whose created_at somebody sets, so that they enter the reports.';
revoke all on function klingwatch.note_backfill() from public;

-- An insert that leaves created_at alone pays for one comparison, an update for nothing.
create trigger note_backfill after insert on klingwatch.tasks
    for each row when (new.created_at < now()) execute function klingwatch.note_backfill();
create trigger note_moved after update of created_at on klingwatch.tasks
    for each row when (new.created_at <> old.created_at) execute function klingwatch.note_backfill();

-- Durations as a histogram, so that those of many rows can be merged: each bucket is 9 % wider than the one before it.

create function klingwatch.duration_bucket(seconds double precision) returns int
    language sql immutable parallel safe
    return 1 + ceil(8 * ln(greatest(seconds, 1)) / ln(2::double precision))::int;

comment on function klingwatch.duration_bucket(double precision) is 'The place of a duration in a histogram: 1 up to a second, n up to 2^((n-1)/8) seconds.';

create function klingwatch.add_durations(a bigint[], b bigint[]) returns bigint[]
    language sql immutable parallel safe
    return case when a is null then b when b is null then a
                else (select array_agg(coalesce(x, 0) + coalesce(y, 0) order by place) from unnest(a, b) with ordinality as u(x, y, place)) end;

comment on function klingwatch.add_durations(bigint[], bigint[]) is 'Two histograms in one.';

create aggregate klingwatch.merge_durations(bigint[]) (
    sfunc = klingwatch.add_durations, stype = bigint[], combinefunc = klingwatch.add_durations, parallel = safe
);

comment on aggregate klingwatch.merge_durations(bigint[]) is 'The histograms of many rows of report_daily in one, for klingwatch.percentile.';

create function klingwatch.percentile(durations bigint[], fraction double precision) returns double precision
    language sql immutable parallel safe
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

comment on function klingwatch.percentile(bigint[], double precision) is 'The seconds within which a fraction of a histogram''s tasks ended, to 9 % at worst: percentile(merge_durations(durations), 0.95).';

alter table klingwatch.daily_summaries
    add column durations bigint[],
    add column late bigint,
    add column retried bigint;

comment on column klingwatch.daily_summaries.seconds is 'p50, p90, p99 and p95 from insert to end';
comment on column klingwatch.daily_summaries.processing_seconds is 'p50, p90, p99 and p95 from first seen processing to end';
comment on column klingwatch.daily_summaries.durations is 'histogram of the times from insert to end';
comment on column klingwatch.daily_summaries.late is 'as in report_daily';
comment on column klingwatch.daily_summaries.retried is 'as in report_daily';
comment on column klingwatch.daily_summaries.day is 'day of insertion';
comment on column klingwatch.failure_summaries.day is 'day of insertion';

create function klingwatch.tasks_by_day(since date, until date, zone text)
    returns table (day date, relay text, action text, action2 text, total bigint, pending bigint, submitted bigint, processing bigint, succeeded bigint,
                   failed bigint, expired bigint, not_found bigint, canceled bigint, seconds double precision[], processing_seconds double precision[],
                   polls numeric, units numeric, durations bigint[], late bigint, retried bigint)
    language sql stable
    begin atomic
        with task as (
            select (t.created_at at time zone zone)::date as day, t.relay, t.action, t.action2, t.status, t.polls, t.unit_deduction,
                   t.retried_at is not null as retried, v.late,
                   case when v.timely then extract(epoch from t.finished_at - t.created_at)::double precision end as seconds,
                   case when v.timely then extract(epoch from t.finished_at - t.processing_at)::double precision end as processing_seconds
            from klingwatch.tasks t,
                 -- tasks from before there was tasks.late have their deadline only
                 lateral (select t.status in ('succeeded', 'failed') as ended, coalesce(t.late or t.finished_at > t.deadline_at, false) as late) e,
                 lateral (select e.ended and e.late and t.retried_at is null as late, e.ended and not e.late and t.retried_at is null as timely) v
            where t.created_at >= since::timestamp at time zone zone and t.created_at < until::timestamp at time zone zone
        ), counted as (
            select k.day, k.relay, k.action, k.action2,
                   count(*) as total,
                   count(*) filter (where k.status = 'pending') as pending,
                   count(*) filter (where k.status = 'submitted') as submitted,
                   count(*) filter (where k.status = 'processing') as processing,
                   count(*) filter (where k.status = 'succeeded') as succeeded,
                   count(*) filter (where k.status = 'failed') as failed,
                   count(*) filter (where k.status = 'expired') as expired,
                   count(*) filter (where k.status = 'not_found') as not_found,
                   count(*) filter (where k.status = 'canceled') as canceled,
                   percentile_cont(array[0.5, 0.9, 0.99, 0.95]) within group (order by k.seconds) as seconds,
                   percentile_cont(array[0.5, 0.9, 0.99, 0.95]) within group (order by k.processing_seconds) as processing_seconds,
                   avg(k.polls) as polls,
                   sum(k.unit_deduction) as units,
                   count(*) filter (where k.late) as late,
                   count(*) filter (where k.retried) as retried
            from task k
            group by k.day, k.relay, k.action, k.action2
        ), bucket as (
            select k.day, k.relay, k.action, k.action2, klingwatch.duration_bucket(k.seconds) as place, count(*) as n
            from task k
            where k.seconds is not null
            group by 1, 2, 3, 4, 5
        ), histogram as (
            select f.day, f.relay, f.action, f.action2, array_agg(coalesce(b.n, 0) order by f.place) as durations
            from (select w.day, w.relay, w.action, w.action2, generate_series(1, max(w.place)) as place
                  from bucket w group by w.day, w.relay, w.action, w.action2) f
            left join bucket b on b.day = f.day and b.relay = f.relay and b.action = f.action and b.action2 = f.action2 and b.place = f.place
            group by f.day, f.relay, f.action, f.action2
        )
        select c.day, c.relay, c.action, c.action2, c.total, c.pending, c.submitted, c.processing, c.succeeded, c.failed, c.expired, c.not_found, c.canceled,
               c.seconds, c.processing_seconds, c.polls, c.units, h.durations, c.late, c.retried
        from counted c
        left join histogram h on h.day = c.day and h.relay = c.relay and h.action = c.action and h.action2 = c.action2;
    end;

comment on function klingwatch.tasks_by_day(date, date, text) is 'Tasks inserted from a day on until before another, by day, relay and path; seconds are p50, p90, p99 and p95 of those that were neither late nor retried.';

create function klingwatch.failures_by_day(since date, until date, zone text)
    returns table (day date, relay text, action text, action2 text, status text, ended_by text, error_code text, reason text, tasks bigint,
                   first_seen timestamptz, last_seen timestamptz, example bigint)
    language sql stable
    begin atomic
        select (t.created_at at time zone zone)::date, t.relay, t.action, t.action2, t.status, coalesce(t.ended_by, klingwatch.ender_of(t.status)), t.error_code,
               klingwatch.short_reason(t.status_message), count(*), min(t.finished_at), max(t.finished_at), max(t.id)
        from klingwatch.tasks t
        where t.created_at >= since::timestamp at time zone zone and t.created_at < until::timestamp at time zone zone
          and t.status in ('failed', 'expired', 'not_found')
        group by 1, 2, 3, 4, 5, 6, 7, 8;
    end;

comment on function klingwatch.failures_by_day(date, date, text) is 'Tasks inserted from a day on until before another that failed, by day, relay, path, who ended them and reason.';

create or replace function klingwatch.summarize_day(wanted date) returns void
    language plpgsql
as $$
declare
    zone text := (select time_zone from klingwatch.report_state);
begin
    delete from klingwatch.daily_summaries where day = wanted;
    insert into klingwatch.daily_summaries (day, relay, action, action2, total, pending, submitted, processing, succeeded, failed, expired, not_found, canceled,
                                            seconds, processing_seconds, polls, units, durations, late, retried)
    select * from klingwatch.tasks_by_day(wanted, wanted + 1, zone);
    delete from klingwatch.failure_summaries where day = wanted;
    insert into klingwatch.failure_summaries (day, relay, action, action2, status, ended_by, error_code, reason, tasks, first_seen, last_seen, example)
    select * from klingwatch.failures_by_day(wanted, wanted + 1, zone);
    delete from klingwatch.metadata_summaries where day = wanted;
    insert into klingwatch.metadata_summaries
    select k.key, m.* from klingwatch.metadata_keys k, klingwatch.metadata_by_day(k.key, wanted, wanted + 1, zone) m;
end
$$;

create or replace function klingwatch.refresh_reports(today date default klingwatch.report_day()) returns int
    language plpgsql
as $$
declare
    -- after an upgrade or a backfill there may be years to do: some days at a time
    most constant int := 31;
    state klingwatch.report_state;
    summarized timestamptz;
    until date;
    wanted date;
    noted date[];
    days int := 0;
begin
    select * into state from klingwatch.report_state for update skip locked;
    if not found then
        return 0; -- another instance is at it
    end if;
    summarized := state.summarized_until::timestamp at time zone state.time_zone;
    until := least(today, state.summarized_until + most);
    with taken as (
        delete from klingwatch.days_to_summarize
        where day in (select distinct day from klingwatch.days_to_summarize order by day desc limit most)
        returning day
    )
    select array_agg(distinct day) into noted from taken;
    for wanted in
        select d::date from generate_series(state.summarized_until, until - 1, interval '1 day') as d
        union
        select d from unnest(noted) as d where d < state.summarized_until
        union
        -- earlier days whose tasks have changed; a minute more, for transactions that committed late
        select (t.created_at at time zone state.time_zone)::date
        from klingwatch.events e
        join klingwatch.tasks t on t.id = e.task
        where e.created_at >= state.refreshed_at - interval '1 minute' and t.created_at < summarized
        union
        -- and those with tasks that are open again, which makes no event
        select o.day
        from (select (created_at at time zone state.time_zone)::date as day, count(*) as tasks
              from klingwatch.tasks
              where finished_at is null and created_at < summarized
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
    where t.status in ('succeeded', 'failed') and t.retried_at is null and not t.late
    group by t.relay, t.action, t.action2
    on conflict (relay, action, action2) do update set tasks = excluded.tasks, p50 = excluded.p50, p90 = excluded.p90;

    update klingwatch.report_state set summarized_until = greatest(state.summarized_until, until), refreshed_at = now();
    return days;
end
$$;

create function klingwatch.set_report_time_zone(zone text) returns void
    language plpgsql
as $$
begin
    if not exists (select from pg_timezone_names where name = zone) then
        raise exception 'time zone % is not known to Postgres: take a name of pg_timezone_names, like Europe/Berlin', zone using errcode = 'invalid_parameter_value';
    end if;
    update klingwatch.report_state set time_zone = zone;
    update klingwatch.report_state set summarized_until = least(summarized_until, klingwatch.report_day());
    -- days that have lost tasks to retention stay as they are
    insert into klingwatch.days_to_summarize (day)
    select d::date
    from klingwatch.report_state s,
         generate_series(greatest(s.frozen_until, coalesce((select min(day) - 1 from klingwatch.daily_summaries), s.summarized_until)), s.summarized_until, interval '1 day') as d;
end
$$;

comment on function klingwatch.set_report_time_zone(text) is 'Lets the days of the reports begin at midnight of a time zone; past days follow, 31 of them a minute.';
revoke all on function klingwatch.set_report_time_zone(text) from public;

-- The views.

create or replace view klingwatch.report_daily as
with everything as (
    select day, relay, action, action2, total, pending, submitted, processing, succeeded, failed, expired, not_found, canceled,
           seconds, processing_seconds, polls, units, durations, late, retried
    from klingwatch.daily_summaries
    where day < (select summarized_until from klingwatch.report_state)
    union all
    select * from klingwatch.tasks_by_day((select summarized_until from klingwatch.report_state), 'infinity', (select time_zone from klingwatch.report_state))
)
select day, action, action2, total, pending, submitted, processing, succeeded, failed, expired, not_found, canceled,
       round(succeeded::numeric / nullif(succeeded + failed + expired + not_found, 0), 4) as success_rate,
       seconds[1] as p50_seconds, seconds[2] as p90_seconds, seconds[3] as p99_seconds,
       processing_seconds[1] as processing_p50_seconds, processing_seconds[2] as processing_p90_seconds, processing_seconds[3] as processing_p99_seconds,
       round(polls, 2) as polls_per_task,
       units,
       relay,
       seconds[4] as p95_seconds, processing_seconds[4] as processing_p95_seconds,
       durations, late, retried
from everything;

comment on view klingwatch.report_daily is 'Tasks by the day of their insertion, relay and path. Changes of tasks from before today show within a minute.';
comment on column klingwatch.report_daily.day is 'day of insertion, in the reports'' time zone: UTC, or what klingwatch.set_report_time_zone set';
comment on column klingwatch.report_daily.p50_seconds is 'median time from insert to end, of those that succeeded or failed and were neither late nor retried';
comment on column klingwatch.report_daily.units is 'units charged by the provider; null where it told none';
comment on column klingwatch.report_daily.p95_seconds is '19 of 20 ended within this time; null for days that were summarized before there was this column, and have lost tasks to retention';
comment on column klingwatch.report_daily.processing_p95_seconds is '19 of 20, from first seen processing to end';
comment on column klingwatch.report_daily.durations is 'histogram of the times from insert to end: klingwatch.percentile(klingwatch.merge_durations(durations), 0.95) is the p95 of many rows';
comment on column klingwatch.report_daily.late is 'of those that succeeded or failed: after their deadline, or when klingwatch had given them up already; in no duration';
comment on column klingwatch.report_daily.retried is 'of all, those that a person had asked again; in no duration';

create or replace view klingwatch.report_failures as
with everything as (
    select day, relay, action, action2, status, ended_by, error_code, reason, tasks, first_seen, last_seen, example
    from klingwatch.failure_summaries
    where day < (select summarized_until from klingwatch.report_state)
    union all
    select * from klingwatch.failures_by_day((select summarized_until from klingwatch.report_state), 'infinity', (select time_zone from klingwatch.report_state))
)
select status, error_code, reason, sum(tasks)::bigint as tasks, min(first_seen) as first_seen, max(last_seen) as last_seen,
       (array_agg(example order by last_seen desc))[1] as example,
       relay, ended_by, day, action, action2
from everything
group by day, relay, action, action2, status, ended_by, error_code, reason;

comment on view klingwatch.report_failures is 'Why tasks did not succeed, by the day of their insertion, relay, path and reason; sum(tasks) over more than a day. Changes of tasks from before today show within a minute.';
comment on column klingwatch.report_failures.reason is 'status_message with # for ids, numbers, URLs and quoted values, at most 200 characters';
comment on column klingwatch.report_failures.day is 'day of insertion, in the reports'' time zone';
comment on column klingwatch.report_failures.action is 'as in tasks';
comment on column klingwatch.report_failures.action2 is 'as in tasks';

drop function klingwatch.daily_tasks(timestamptz, timestamptz), klingwatch.daily_failures(timestamptz, timestamptz);
