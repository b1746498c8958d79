-- Many tasks are retried or canceled as many webhooks are sent again: a row and its job, some each second, so that it goes on after a crash.

alter table klingwatch.redeliveries rename to bulk_actions;
alter table klingwatch.bulk_actions rename column redelivered to done;
alter table klingwatch.bulk_actions
    add column action text not null default 'redeliver'
        constraint "action: redeliver, retry or cancel" check (action in ('redeliver', 'retry', 'cancel')),
    add column filter jsonb not null default '{}'
        constraint "filter: a JSON object" check (jsonb_typeof(filter) = 'object'),
    drop constraint "states: delivered, exhausted, canceled",
    add constraint "states: at least one, of those that the action changes" check (cardinality(states) > 0 and states <@ case action
        when 'redeliver' then array['delivered', 'exhausted', 'canceled']
        when 'retry' then array['succeeded', 'failed', 'expired', 'not_found', 'canceled']
        else array['pending', 'submitted', 'processing'] end);

comment on table klingwatch.bulk_actions is 'What is done to many tasks or deliveries, see klingwatch bulk.';
comment on column klingwatch.bulk_actions.id is 'number of the action';
comment on column klingwatch.bulk_actions.action is 'redeliver (deliveries), retry or cancel (tasks)';
comment on column klingwatch.bulk_actions.endpoint is 'webhook_endpoints.id, for redeliver; null: all receivers, callbacks included';
comment on column klingwatch.bulk_actions.since is 'tasks or deliveries created at this time or later';
comment on column klingwatch.bulk_actions.until is 'tasks or deliveries created before this time';
comment on column klingwatch.bulk_actions.states is 'tasks with these statuses, deliveries in these states';
comment on column klingwatch.bulk_actions.filter is 'what else chooses them: path, relay, external_id, metadata, error, overdue; for deliveries error, and tasks';
comment on column klingwatch.bulk_actions.per_second is 'how many are changed per second';
comment on column klingwatch.bulk_actions.matched is 'how many were chosen when it began';
comment on column klingwatch.bulk_actions.done is 'how many were changed so far';
comment on column klingwatch.bulk_actions.position is 'those up to this id are done';
comment on column klingwatch.bulk_actions.last is 'those after this id came later and are not chosen';

drop trigger enqueue on klingwatch.bulk_actions;
create trigger enqueue after insert on klingwatch.bulk_actions
    referencing new table as inserted for each statement execute function klingwatch.enqueue('bulk');

-- The version before goes on with what it knows, and begins redeliveries here: they have a job that the new version works.
create view klingwatch.redeliveries as
select id, endpoint, since, until, states, per_second, matched, done as redelivered, position, last, created_at, finished_at
from klingwatch.bulk_actions
where action = 'redeliver' and filter = '{}';

comment on view klingwatch.redeliveries is 'Bulk redeliveries as the version before knows them; see bulk_actions.';
comment on column klingwatch.redeliveries.id is 'bulk_actions.id';
comment on column klingwatch.redeliveries.endpoint is 'as in bulk_actions';
comment on column klingwatch.redeliveries.since is 'as in bulk_actions';
comment on column klingwatch.redeliveries.until is 'as in bulk_actions';
comment on column klingwatch.redeliveries.states is 'as in bulk_actions';
comment on column klingwatch.redeliveries.per_second is 'as in bulk_actions';
comment on column klingwatch.redeliveries.matched is 'as in bulk_actions';
comment on column klingwatch.redeliveries.redelivered is 'bulk_actions.done';
comment on column klingwatch.redeliveries.position is 'as in bulk_actions';
comment on column klingwatch.redeliveries.last is 'as in bulk_actions';
comment on column klingwatch.redeliveries.created_at is 'as in bulk_actions';
comment on column klingwatch.redeliveries.finished_at is 'as in bulk_actions';

comment on view klingwatch.live_jobs is 'The River job of each row that has one: of tasks (poll), deliveries (deliver), bulk actions (bulk).';
comment on column klingwatch.live_jobs.kind is 'poll, deliver or bulk; redeliver: of a bulk action that the version before began';
