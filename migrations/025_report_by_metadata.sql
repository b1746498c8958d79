-- Reports by what apps write into metadata, and webhooks one by one.

-- A key costs nothing until somebody asks for it: then its past days are summarized like those of the other reports.
create table klingwatch.metadata_keys (
    key text primary key
);

comment on table klingwatch.metadata_keys is 'Keys of tasks.metadata that are summarized; see klingwatch.summarize_metadata.';
comment on column klingwatch.metadata_keys.key is 'name of the key, at the top of the object';

create table klingwatch.metadata_summaries (
    key       text not null references klingwatch.metadata_keys (key) on delete cascade,
    day       date not null,
    value     text,
    relay     text not null,
    action    text not null,
    action2   text not null,
    total     bigint not null,
    open      bigint not null,
    succeeded bigint not null,
    failed    bigint not null,
    expired   bigint not null,
    not_found bigint not null,
    canceled  bigint not null,
    units     numeric
);

create index metadata_summaries_day on klingwatch.metadata_summaries (key, day);

comment on table klingwatch.metadata_summaries is 'Past days of report_by_metadata; call the function.';
comment on column klingwatch.metadata_summaries.key is 'as in metadata_keys';
comment on column klingwatch.metadata_summaries.day is 'day of insertion';
comment on column klingwatch.metadata_summaries.value is 'what metadata has under the key, at most 200 characters; null for tasks without it';
comment on column klingwatch.metadata_summaries.relay is 'as in tasks';
comment on column klingwatch.metadata_summaries.action is 'as in tasks';
comment on column klingwatch.metadata_summaries.action2 is 'as in tasks';
comment on column klingwatch.metadata_summaries.total is 'tasks';
comment on column klingwatch.metadata_summaries.open is 'tasks that have not ended';
comment on column klingwatch.metadata_summaries.succeeded is 'tasks with this status';
comment on column klingwatch.metadata_summaries.failed is 'tasks with this status';
comment on column klingwatch.metadata_summaries.expired is 'tasks with this status';
comment on column klingwatch.metadata_summaries.not_found is 'tasks with this status';
comment on column klingwatch.metadata_summaries.canceled is 'tasks with this status';
comment on column klingwatch.metadata_summaries.units is 'sum of unit_deduction; null where none is known';

create function klingwatch.metadata_by_day(key text, since date, until date, zone text)
    returns table (day date, value text, relay text, action text, action2 text, total bigint, open bigint, succeeded bigint, failed bigint,
                   expired bigint, not_found bigint, canceled bigint, units numeric)
    language sql stable
    begin atomic
        select (t.created_at at time zone zone)::date, left(t.metadata ->> metadata_by_day.key, 200), t.relay, t.action, t.action2,
               count(*),
               count(*) filter (where t.finished_at is null),
               count(*) filter (where t.status = 'succeeded'),
               count(*) filter (where t.status = 'failed'),
               count(*) filter (where t.status = 'expired'),
               count(*) filter (where t.status = 'not_found'),
               count(*) filter (where t.status = 'canceled'),
               sum(t.unit_deduction)
        from klingwatch.tasks t
        where t.created_at >= since::timestamp at time zone zone and t.created_at < until::timestamp at time zone zone
        group by 1, 2, 3, 4, 5;
    end;

comment on function klingwatch.metadata_by_day(text, date, date, text) is 'Tasks inserted from a day on until before another, by day, value of a key of metadata, relay and path.';

create function klingwatch.report_by_metadata(key text, since date default '-infinity')
    returns table (day date, value text, relay text, action text, action2 text, total bigint, open bigint, succeeded bigint, failed bigint,
                   expired bigint, not_found bigint, canceled bigint, units numeric)
    language sql stable
    begin atomic
        with state as (
            select s.time_zone, s.summarized_until, exists (select from klingwatch.metadata_keys k where k.key = report_by_metadata.key) as summarized
            from klingwatch.report_state s
        )
        select m.day, m.value, m.relay, m.action, m.action2, m.total, m.open, m.succeeded, m.failed, m.expired, m.not_found, m.canceled, m.units
        from klingwatch.metadata_summaries m
        where m.key = report_by_metadata.key and m.day >= since and m.day < (select summarized_until from state)
        union all
        select *
        from klingwatch.metadata_by_day(report_by_metadata.key,
            (select case when summarized then greatest(since, summarized_until) else since end from state), 'infinity', (select time_zone from state));
    end;

comment on function klingwatch.report_by_metadata(text, date) is 'Outcomes and units of tasks by day of insertion, value of a key of metadata, relay and path, from a day on. Reads all tasks since then, unless klingwatch.summarize_metadata has been called for the key.';

create function klingwatch.summarize_metadata(key text) returns void
    language plpgsql
as $$
declare
    state klingwatch.report_state;
begin
    select * into state from klingwatch.report_state for update; -- not beside refresh_reports
    insert into klingwatch.metadata_keys values (key) on conflict do nothing;
    if found then
        insert into klingwatch.metadata_summaries
        select summarize_metadata.key, m.*
        from klingwatch.metadata_by_day(summarize_metadata.key, state.frozen_until, state.summarized_until, state.time_zone) m;
    end if;
end
$$;

comment on function klingwatch.summarize_metadata(text) is 'Has report_by_metadata answer at once for a key from now on. Reads all tasks once; days that have lost tasks to retention are left out. For keys with few values, like customers: each value makes a row a day.';

create function klingwatch.forget_metadata(key text) returns void
    language sql
    begin atomic
        delete from klingwatch.metadata_keys k where k.key = forget_metadata.key;
    end;

comment on function klingwatch.forget_metadata(text) is 'Ends what summarize_metadata began, and deletes the summaries of the key.';
revoke all on function klingwatch.summarize_metadata(text), klingwatch.forget_metadata(text) from public;

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

-- Three ways to a row, so that each finds its index.
create view klingwatch.report_deliveries as
with delivery as (
    select * from klingwatch.deliveries where state = 'exhausted'
    union all
    select * from klingwatch.deliveries where state = 'pending' and tries_since < now() - interval '1 minute'
    union all
    select * from klingwatch.deliveries
    where created_at >= now() - interval '1 day' and state = 'delivered' and delivered_at > tries_since + interval '1 minute'
)
select d.id as delivery, d.state, d.endpoint, d.url, e.event_id, e.type, e.task, t.task_id, t.relay, t.action, t.action2, t.external_id,
       d.created_at, d.tries_since,
       case d.state when 'pending' then round(extract(epoch from now() - d.tries_since), 1)
                    when 'delivered' then round(extract(epoch from d.delivered_at - d.tries_since), 1) end as seconds,
       d.attempts, d.next_attempt_at, d.held_since, d.last_error
from delivery d
join klingwatch.events e on e.id = d.event
left join klingwatch.tasks t on t.id = e.task;

comment on view klingwatch.report_deliveries is 'Webhooks that are late or given up, one by one: those that wait for more than a minute, those of the last day''s events that took longer, and exhausted ones of whatever age.';
comment on column klingwatch.report_deliveries.delivery is 'deliveries.id; klingwatch deliveries show tells each attempt, deliveries redeliver sends it again';
comment on column klingwatch.report_deliveries.state is 'pending (late), delivered (came late) or exhausted (given up)';
comment on column klingwatch.report_deliveries.endpoint is 'webhook_endpoints.id; null for callbacks';
comment on column klingwatch.report_deliveries.url is 'receiver at the time of the event';
comment on column klingwatch.report_deliveries.event_id is 'the webhook-id header';
comment on column klingwatch.report_deliveries.type is 'as in events';
comment on column klingwatch.report_deliveries.task is 'tasks.id; null for the events about a receiver';
comment on column klingwatch.report_deliveries.task_id is 'the provider''s id';
comment on column klingwatch.report_deliveries.relay is 'as in tasks';
comment on column klingwatch.report_deliveries.action is 'as in tasks';
comment on column klingwatch.report_deliveries.action2 is 'as in tasks';
comment on column klingwatch.report_deliveries.external_id is 'the caller''s reference';
comment on column klingwatch.report_deliveries.created_at is 'time of the event';
comment on column klingwatch.report_deliveries.tries_since is 'as in deliveries: the event, the enabling of its endpoint, or the last redelivery';
comment on column klingwatch.report_deliveries.seconds is 'from tries_since to its arrival, or until now; null for exhausted ones';
comment on column klingwatch.report_deliveries.attempts is 'requests made so far';
comment on column klingwatch.report_deliveries.next_attempt_at is 'when the next request is due; null: none is planned';
comment on column klingwatch.report_deliveries.held_since is 'since when it is not sent because its receiver keeps failing or asked to slow down; null else';
comment on column klingwatch.report_deliveries.last_error is 'why the last attempt failed, or why none is made';

-- Rights on reports follow from their names; the functions for people read the state and the summaries with the caller's rights.
create function klingwatch.grant_reports() returns void
    language plpgsql
as $$
declare
    wanted text;
    report regclass;
begin
    foreach wanted in array array['klingwatch_reader', 'klingwatch_operator'] loop
        continue when not exists (select from pg_roles where rolname = wanted);
        for report in
            select oid from pg_class where relnamespace = 'klingwatch'::regnamespace and relkind = 'v' and relname like 'report\_%'
            union all
            select unnest(array['klingwatch.report_state', 'klingwatch.metadata_keys', 'klingwatch.metadata_summaries']::regclass[])
        loop
            execute format('grant select on %s to %I', report, wanted);
        end loop;
    end loop;
end
$$;

comment on function klingwatch.grant_reports() is 'Gives klingwatch_reader and klingwatch_operator, where they exist, their rights on reports.';
revoke all on function klingwatch.grant_reports() from public;

alter function klingwatch.grant_roles() rename to grant_tables;

create function klingwatch.grant_roles() returns void
    language sql
    begin atomic
        select klingwatch.grant_tables();
        select klingwatch.grant_reports();
    end;

comment on function klingwatch.grant_roles() is 'Gives klingwatch_producer, klingwatch_reader and klingwatch_operator, where they exist, their rights, and those who log in to read their timeouts.';
revoke all on function klingwatch.grant_roles() from public;

select klingwatch.grant_roles();
