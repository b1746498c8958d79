-- no transaction
-- Tasks that ended before there was the column, some thousands at a time, so that nobody waits for their rows; then the indexes of the
-- lists, while tasks are inserted.

do $$
declare
    position bigint := 0;
    last bigint := (select coalesce(max(id), 0) from klingwatch.tasks);
begin
    while position < last loop
        update klingwatch.tasks
        set ended_as = status,
            version = version + 1
        where id > position and id <= position + 5000 and status in ('failed', 'expired', 'not_found', 'canceled') and ended_as is null;
        position := position + 5000;
        commit;
    end loop;
end
$$;

create index concurrently if not exists tasks_ended_as on klingwatch.tasks (ended_as, id) where ended_as is not null;

-- A few bytes for each 32 pages tell which values are not there: enough to find rare ones, while frequent ones are found without.
create index concurrently if not exists tasks_kinds on klingwatch.tasks
    using brin (action text_bloom_ops(n_distinct_per_range = 16), (action || '/' || action2) text_bloom_ops(n_distinct_per_range = 32),
                relay text_bloom_ops(n_distinct_per_range = 16), app text_bloom_ops(n_distinct_per_range = 16))
    with (autosummarize = on, pages_per_range = 32);

-- By both: where are tasks from before a time that have a high id all the same.
create index concurrently if not exists tasks_created_at_id on klingwatch.tasks using brin (created_at, id) with (autosummarize = on, pages_per_range = 16);

drop index concurrently if exists klingwatch.tasks_created_at;

create index concurrently if not exists deliveries_canceled on klingwatch.deliveries (id) where state = 'canceled';
