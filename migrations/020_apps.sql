-- Apps apart: a row belongs to the app that inserted it, and a login in role klingwatch_producer meets no others. A third role, for
-- those who operate.

-- First a default that never changes, so that no row is rewritten: '' are the tasks from before, which every app goes on seeing.
alter table klingwatch.tasks add column app text not null default '';
alter table klingwatch.tasks alter column app set default current_user;
comment on column klingwatch.tasks.app is 'the role that inserted it; an app (a login in role klingwatch_producer) meets only its own tasks, and those from before there was this column, which have none';

create function klingwatch.acts_for_one_app(role name default current_user) returns boolean
    language sql stable parallel safe
    begin atomic
        select coalesce(bool_and(rolname = 'klingwatch_producer'), false)
        from pg_roles
        where rolname in ('klingwatch_producer', 'klingwatch_reader', 'klingwatch_operator') and pg_has_role(role, oid, 'usage');
    end;

comment on function klingwatch.acts_for_one_app(name) is 'True for a role that is a klingwatch_producer and nothing more: it meets the tasks of its own app only.';

-- The owner passes by these. All other roles see what their grants give them, except that apps see their own. The question what a role
-- is, is asked once in a statement, and not at all where all rows are its own.
create policy apps on klingwatch.tasks
    using (app = current_user::text or app = '' or not (select klingwatch.acts_for_one_app()))
    with check (app = current_user::text or not (select klingwatch.acts_for_one_app()));
create policy apps on klingwatch.outputs
    using (not (select klingwatch.acts_for_one_app()) or exists (select from klingwatch.tasks t where t.id = task));
create policy apps on klingwatch.events
    using (not (select klingwatch.acts_for_one_app()) or exists (select from klingwatch.tasks t where t.id = task));

alter table klingwatch.tasks enable row level security;
alter table klingwatch.outputs enable row level security;
alter table klingwatch.events enable row level security;

-- A deadline that has passed is a mistake, of units or of a time zone: the task would expire before anybody asks about it.
create function klingwatch.refuse_past_deadline() returns trigger
    language plpgsql
as $$
begin
    raise exception using errcode = 'check_violation', message = format('deadline_at: must be in the future, not %s', new.deadline_at),
        hint = 'leave it out to use KLINGWATCH_TASK_DEADLINE, or give a time with its zone, such as now() + interval ''1 day''';
end
$$;

create trigger refuse_past_deadline before insert on klingwatch.tasks
    for each row when (new.deadline_at <= now() and new.finished_at is null and new.created_at >= now())
    execute function klingwatch.refuse_past_deadline();

do $$
begin
    if not exists (select from pg_roles where rolname = 'klingwatch_operator') then
        create role klingwatch_operator nologin;
    end if;
exception
    when duplicate_object or unique_violation then null; -- another database of the cluster was faster
    when insufficient_privilege then
        raise warning 'role klingwatch_operator was not created: the migrating user lacks CREATEROLE; create it and run: select klingwatch.grant_roles()';
end
$$;
