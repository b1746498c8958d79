-- Each relay has queues of its own: a process works only those of relays that it can ask, and the tasks of one take no place of another's.
-- All that klingwatch's own schema knows of River stands here, as of this step: its table of jobs, the states of a live job, its channel.

create or replace function klingwatch.live_states() returns bit
    language sql immutable parallel safe
    -- bit 7 available, 3 pending, 2 retryable, 1 running, 0 scheduled (river_job_state_in_bitmask)
    return b'11110001';

comment on function klingwatch.live_states() is 'river_job.unique_states of our jobs: a row has at most one job in these states, and can get another when that one has finished.';

create or replace view klingwatch.live_jobs as
select id, kind, unique_key as key, state::text as state, scheduled_at, attempted_at, metadata,
       attempted_by[array_upper(attempted_by, 1)] as instance
from klingwatch.river_job
where unique_key is not null and unique_states is not null and klingwatch.river_job_state_in_bitmask(unique_states, state);

comment on view klingwatch.live_jobs is 'The River job of each row that has one: of tasks (poll), deliveries (deliver), redeliveries (redeliver).';
comment on column klingwatch.live_jobs.id is 'river_job.id';
comment on column klingwatch.live_jobs.kind is 'poll, deliver or redeliver';
comment on column klingwatch.live_jobs.key is 'klingwatch.job_key of the kind and the row''s id';
comment on column klingwatch.live_jobs.state is 'available, running, scheduled, retryable or pending';
comment on column klingwatch.live_jobs.scheduled_at is 'when it is due';
comment on column klingwatch.live_jobs.attempted_at is 'when a process took it last';
comment on column klingwatch.live_jobs.metadata is 'under klingwatch: what a sleeping poll remembers';
comment on column klingwatch.live_jobs.instance is 'the process that took it last: kw and its slot';

create function klingwatch.poll_queue(relay_id int, relay text, task bigint) returns text
    language sql immutable parallel safe
    return case when relay = 'default' or relay_id is null then klingwatch.job_queue('poll', task) else 'relay-' || relay_id || '-' || (task % 2) end;

comment on function klingwatch.poll_queue(int, text, bigint) is 'The queue of a task''s job: each relay has its own, which only processes work that can ask it; eight of default, two of any other, because a process works at most 10,000 jobs of a queue at once.';

create function klingwatch.queues_of(kind text, ids bigint[]) returns table (id bigint, queue text)
    language sql stable
    begin atomic
        select row_id, case when queues_of.kind = 'poll' then klingwatch.poll_queue(r.id, t.relay, row_id) else klingwatch.job_queue(queues_of.kind, row_id) end
        from unnest(ids) as row_id
        left join klingwatch.tasks t on queues_of.kind = 'poll' and t.id = row_id
        left join klingwatch.relays r on r.name = t.relay;
    end;

comment on function klingwatch.queues_of(text, bigint[]) is 'The queue of each row''s job.';

create or replace function klingwatch.add_jobs(kind text, ids bigint[]) returns void
    language plpgsql
as $$
begin
    -- these rows are new, so no conflict is possible: the plain insert is a third faster than give_jobs
    insert into klingwatch.river_job (kind, queue, args, max_attempts, unique_key, unique_states)
    select add_jobs.kind, klingwatch.job_queue(add_jobs.kind, row_id), jsonb_build_object('id', row_id), 32767,
           klingwatch.job_key(add_jobs.kind, row_id), klingwatch.live_states()
    from unnest(ids) as row_id;
    perform klingwatch.wake_workers(add_jobs.kind, ids);
end
$$;

comment on function klingwatch.add_jobs(text, bigint[]) is 'Gives each row of those that were inserted just now its River job and wakes a worker.';
revoke all on function klingwatch.add_jobs(text, bigint[]) from public;

create function klingwatch.enqueue_tasks() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
declare
    woken bigint;
begin
    with made as (
        insert into klingwatch.river_job (kind, queue, args, max_attempts, unique_key, unique_states)
        select 'poll', klingwatch.poll_queue(r.id, i.relay, i.id), jsonb_build_object('id', i.id), 32767, klingwatch.job_key('poll', i.id), klingwatch.live_states()
        from inserted i
        left join klingwatch.relays r on r.name = i.relay
        returning queue
    )
    select count(pg_notify('klingwatch.river_insert', json_build_object('queue', queue)::text)) into woken
    from (select distinct queue from made) as queues;
    return null;
end
$$;

comment on function klingwatch.enqueue_tasks() is 'Trigger: a River job for each inserted task, in the queue of its relay, in the inserter''s transaction and with the owner''s rights.';
revoke all on function klingwatch.enqueue_tasks() from public;

create or replace trigger enqueue after insert on klingwatch.tasks
    referencing new table as inserted for each statement execute function klingwatch.enqueue_tasks();

create or replace function klingwatch.enqueue() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    perform klingwatch.add_jobs(tg_argv[0], (select array_agg(id) from inserted));
    return null;
end
$$;

create or replace function klingwatch.enqueue_due() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    perform klingwatch.add_jobs('deliver', (select array_agg(id) from inserted where next_attempt_at is not null));
    return null;
end
$$;

create or replace function klingwatch.give_jobs(kind text, ids bigint[]) returns bigint
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
declare
    given bigint;
begin
    insert into klingwatch.river_job (kind, queue, args, max_attempts, unique_key, unique_states)
    select give_jobs.kind, q.queue, jsonb_build_object('id', q.id), 32767, klingwatch.job_key(give_jobs.kind, q.id), klingwatch.live_states()
    from klingwatch.queues_of(give_jobs.kind, ids) as q
    on conflict (unique_key) where unique_key is not null and unique_states is not null
        and klingwatch.river_job_state_in_bitmask(unique_states, state) do nothing;
    get diagnostics given = row_count;
    if given < cardinality(ids) then
        -- a row that has a live job already, and is given one again, wants to be worked now
        update klingwatch.river_job j set state = 'available', scheduled_at = now()
        from klingwatch.live_jobs l
        where j.id = l.id and l.key in (select klingwatch.job_key(give_jobs.kind, row_id) from unnest(ids) as row_id)
          and (j.state in ('scheduled', 'retryable') or j.state = 'available' and j.scheduled_at > now());
    end if;
    perform klingwatch.wake_workers(give_jobs.kind, ids);
    return given;
end
$$;

create or replace function klingwatch.wake_workers(kind text, ids bigint[]) returns void
    language sql
    begin atomic
        select pg_notify('klingwatch.river_insert', json_build_object('queue', queue)::text)
        from (select distinct q.queue from klingwatch.queues_of(kind, ids) as q) as queues;
    end;

revoke all on function klingwatch.wake_workers(text, bigint[]) from public;
