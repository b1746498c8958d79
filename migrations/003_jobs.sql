-- How rows become River jobs. Jobs are disposable: they can be made again from tasks and deliveries at any time.

create function klingwatch.job_key(kind text, id bigint) returns bytea
    language sql immutable parallel safe
    return (kind || ':' || id::text)::bytea;

comment on function klingwatch.job_key(text, bigint) is 'river_job.unique_key of the one live job of a row: poll:42, deliver:7';

create function klingwatch.job_queue(kind text, id bigint) returns text
    language sql immutable parallel safe
    return case when kind = 'poll' then 'poll-' || (id % 8)::text else kind end;

comment on function klingwatch.job_queue(text, bigint) is 'The queue of a row''s job: eight for polls, because a process works at most 10,000 jobs of a queue at once and poll jobs are resident.';

create function klingwatch.wake_workers(kind text, ids bigint[]) returns void
    language sql
    begin atomic
        select pg_notify('klingwatch.river_insert', json_build_object('queue', queue)::text)
        from (select distinct klingwatch.job_queue(kind, row_id) as queue from unnest(ids) as row_id) as queues;
    end;

comment on function klingwatch.wake_workers(text, bigint[]) is 'Tells River that there are jobs for these rows.';

-- unique_states below: bit 7 available, 3 pending, 2 retryable, 1 running, 0 scheduled (river_job_state_in_bitmask);
-- finished jobs are left out, so that a row can get a new job later.
-- max_attempts: polling has no natural number of tries, the deadline of the task ends it.

create function klingwatch.enqueue() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
begin
    -- these rows are new, so no conflict is possible: the plain insert is a third faster
    insert into klingwatch.river_job (kind, queue, args, max_attempts, unique_key, unique_states)
    select tg_argv[0], klingwatch.job_queue(tg_argv[0], id), jsonb_build_object('id', id), 32767,
           klingwatch.job_key(tg_argv[0], id), b'11110001'
    from inserted;
    perform klingwatch.wake_workers(tg_argv[0], (select array_agg(id) from inserted));
    return null;
end
$$;

comment on function klingwatch.enqueue() is 'Trigger: a River job for each inserted row, in the inserter''s transaction and with the owner''s rights.';
revoke all on function klingwatch.enqueue() from public;

create function klingwatch.give_jobs(kind text, ids bigint[]) returns bigint
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
declare
    given bigint;
begin
    insert into klingwatch.river_job (kind, queue, args, max_attempts, unique_key, unique_states)
    select give_jobs.kind, klingwatch.job_queue(give_jobs.kind, row_id), jsonb_build_object('id', row_id), 32767,
           klingwatch.job_key(give_jobs.kind, row_id), b'11110001'
    from unnest(ids) as row_id
    on conflict (unique_key) where unique_key is not null and unique_states is not null
        and klingwatch.river_job_state_in_bitmask(unique_states, state) do nothing;
    get diagnostics given = row_count;
    if given < cardinality(ids) then
        -- a row that has a live job already, and is given one again, wants to be worked now
        update klingwatch.river_job set state = 'available', scheduled_at = now()
        where unique_key in (select klingwatch.job_key(give_jobs.kind, row_id) from unnest(ids) as row_id)
          and unique_states is not null and klingwatch.river_job_state_in_bitmask(unique_states, state)
          and (state in ('scheduled', 'retryable') or state = 'available' and scheduled_at > now());
    end if;
    perform klingwatch.wake_workers(give_jobs.kind, ids);
    return given;
end
$$;

comment on function klingwatch.give_jobs(text, bigint[]) is 'Gives each row one live River job of the kind (poll, deliver) that is due now, wakes a worker, returns how many were missing.';
revoke all on function klingwatch.give_jobs(text, bigint[]) from public;

create trigger enqueue after insert on klingwatch.tasks
    referencing new table as inserted for each statement execute function klingwatch.enqueue('poll');
create trigger enqueue after insert on klingwatch.deliveries
    referencing new table as inserted for each statement execute function klingwatch.enqueue('deliver');

-- These serve only searches in River's user interface and cost a third of the queue's work.
drop index klingwatch.river_job_args_index, klingwatch.river_job_metadata_index, klingwatch.river_job_kind;

-- A queue is updated all the time: vacuum early and without pauses (reference: River bloat under long snapshots).
alter table klingwatch.river_job set (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
