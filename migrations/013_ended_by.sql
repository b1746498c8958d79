-- no transaction
-- Tasks that ended before there was the column, some thousands at a time, so that nobody waits for their rows.

do $$
declare
    position bigint := 0;
    last bigint := (select coalesce(max(id), 0) from klingwatch.tasks);
begin
    while position < last loop
        update klingwatch.tasks
        set ended_by = klingwatch.ender_of(status),
            version = version + 1
        where id > position and id <= position + 5000 and finished_at is not null and ended_by is null;
        position := position + 5000;
        commit;
    end loop;
end
$$;
