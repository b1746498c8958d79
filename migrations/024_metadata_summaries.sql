-- Summaries by what apps write into metadata.

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
