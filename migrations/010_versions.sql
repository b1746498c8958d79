-- A write that was decided on an older state of a task must not replace a newer one, also where the status is the same.

alter table klingwatch.tasks add column version int not null default 0;

comment on column klingwatch.tasks.version is 'raised by every write; a change that was decided on another version is not made';

create function klingwatch.raise_version() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    new.version := old.version + 1;
    return new;
end
$$;

comment on function klingwatch.raise_version() is 'Trigger: raises tasks.version for a writer that did not, like a person or an older klingwatch.';
revoke all on function klingwatch.raise_version() from public;

create trigger raise_version before update on klingwatch.tasks
    for each row when (new.version = old.version) execute function klingwatch.raise_version();
