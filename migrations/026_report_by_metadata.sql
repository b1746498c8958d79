-- Reports by what apps write into metadata, and webhooks one by one.

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
