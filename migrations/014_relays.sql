-- Several relays in one deployment: a row each. The row "default" is what the settings of the service say.

create table klingwatch.relays (
    id              int generated always as identity unique,
    name            text primary key
        constraint "name: 1 to 64 of a-z, 0-9, ., _, -, beginning with a-z or 0-9"
        check (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    base_url        text not null
        constraint "base_url: scheme and host, like https://relay.example"
        check (base_url ~* '^https?://[^[:space:]/?#@]+(/[^[:space:]?#]*)?$' and char_length(base_url) <= 500),
    task_path       text not null default '/kling/v1/{action}/{action2}/{task_id}'
        constraint "task_path: begins with / and has {task_id} or {task_ids} once"
        check (task_path ~ '^/' and task_path !~ '[[:space:][:cntrl:]#]' and char_length(task_path) <= 500
               and (task_path like '%{task_id}%') <> (task_path like '%{task_ids}%')),
    batch_size      int not null default 20
        constraint "batch_size: 1 to 100" check (batch_size between 1 and 100),
    poll_rate       double precision not null default 50
        constraint "poll_rate: more than 0, at most a million" check (poll_rate > 0 and poll_rate <= 1000000),
    output_lifetime interval not null default '30 days'
        constraint "output_lifetime: a minute to ten years" check (output_lifetime between interval '1 minute' and interval '10 years'),
    key_source      text not null
        constraint "key_source: settings, key_file, stored or access_key" check (key_source in ('settings', 'key_file', 'stored', 'access_key')),
    key_file        text,
    stored_key      text,
    access_key      text,
    secret_key_file text,
    credential      text,
    version         int not null default 0,
    created_at      timestamptz not null default now(),
    changed_at      timestamptz not null default now(),
    constraint "key_source: the columns of its key are set, and no others"
        check ((key_source = 'key_file') = (key_file is not null) and (key_source = 'stored') = (stored_key is not null)
               and (key_source = 'access_key') = (access_key is not null) and (key_source = 'access_key') = (secret_key_file is not null)),
    constraint "key_source: settings is for the relay default, and for no other" check ((key_source = 'settings') = (name = 'default'))
);

comment on table klingwatch.relays is 'The relays that tasks are asked about at. Changes hold in all processes within seconds.';
comment on column klingwatch.relays.id is 'names the queues of its tasks, relay-ID-0 and relay-ID-1; those of default are poll-0 to poll-7';
comment on column klingwatch.relays.name is 'what tasks.relay names; default is the relay of the settings, which a service writes when it starts';
comment on column klingwatch.relays.base_url is 'scheme and host, and a path if there is one';
comment on column klingwatch.relays.task_path is 'path, and query, of a task: {action}, {action2} and {task_id}, or {task_ids} where the relay takes several ids at once';
comment on column klingwatch.relays.batch_size is 'most ids in one request; counts where task_path has {task_ids}';
comment on column klingwatch.relays.poll_rate is 'most requests per second of the whole deployment; of relays that share host and key the lowest counts';
comment on column klingwatch.relays.output_lifetime is 'how long the relay keeps files after a task has finished';
comment on column klingwatch.relays.key_source is 'settings (of the service), key_file, stored (encrypted) or access_key (with a file for the secret key)';
comment on column klingwatch.relays.key_file is 'path of the file with the bearer key, on the machine of the service; read again when it changes';
comment on column klingwatch.relays.stored_key is 'bearer key, encrypted with KLINGWATCH_ENCRYPTION_KEY';
comment on column klingwatch.relays.access_key is 'access key of Kling''s own JWT authentication';
comment on column klingwatch.relays.secret_key_file is 'path of the file with the secret key that belongs to access_key';
comment on column klingwatch.relays.credential is 'fingerprint of host and key in use, 8 hex digits; relays with the same one share rate, back-off and pause (polling_pauses.credential)';
comment on column klingwatch.relays.version is 'raised by every change of what is asked, and how';
comment on column klingwatch.relays.created_at is 'when it was added';
comment on column klingwatch.relays.changed_at is 'last change';

-- A default that never changes: no row is rewritten, and the version before writes it without knowing.
alter table klingwatch.tasks add column relay text not null default 'default';
comment on column klingwatch.tasks.relay is 'relays.name; a task stays with its relay';

-- "not valid": no scan of what is there, which fits; 016 says so
alter table klingwatch.tasks
    drop constraint "action: 1 to 64 lower-case letters, digits and -",
    drop constraint "action2: lower-case letters, digits and -, at most one /",
    add constraint "action: 1 to 64 letters, digits, ., _ and -, not . or .."
        check (char_length(action) between 1 and 64 and action !~ '[^A-Za-z0-9._-]' and action not in ('.', '..')) not valid,
    add constraint "action2: 1 to 3 parts of letters, digits, ., _, -, not . or .."
        check (char_length(action2) between 1 and 128 and action2 !~ '[^A-Za-z0-9._/-]|/.*/.*/|//|^/|/$'
               and (position('.' in action2) = 0 or action2 !~ '(^|/)\.\.?(/|$)')) not valid;

comment on column klingwatch.tasks.action is 'first part of the query path: images, videos, audio, general, text-to-video';
comment on column klingwatch.tasks.action2 is 'second part of the query path, as at creation, up to three segments: text2video, generations, avatar/image2video, kling-3.0-turbo';

create function klingwatch.is_documented(action text, action2 text) returns boolean
    language sql immutable parallel safe
    return action in ('text-to-video', 'image-to-video', 'text-to-image', 'image-to-image') or action || '/' || action2 in (
        'images/generations', 'images/kolors-virtual-try-on', 'images/omni-image', 'images/multi-image2image', 'images/editing/expand',
        'videos/text2video', 'videos/text-to-video', 'videos/image2video', 'videos/lip-sync', 'videos/multi-image2video', 'videos/multi-elements', 'videos/omni-video',
        'videos/motion-control', 'videos/video-extend', 'videos/advanced-lip-sync', 'videos/effects', 'videos/avatar/image2video',
        'general/ai-multi-shot', 'general/advanced-custom-elements', 'general/custom-voices', 'audio/text-to-audio', 'audio/video-to-audio');

comment on function klingwatch.is_documented(text, text) is 'True for a path that Kling or a relay documents; others are asked about as well.';

create function klingwatch.check_relay() returns trigger
    language plpgsql security definer set search_path = pg_catalog, klingwatch, pg_temp
as $$
declare
    refusal text;
    path text;
begin
    select format('relay %s is not known, the relays are %s', i.relay,
               (select string_agg(name, ', ' order by name) from (select name from klingwatch.relays union select 'default') as known))
    into refusal from inserted i
    where i.relay <> 'default' and not exists (select from klingwatch.relays r where r.name = i.relay for key share) limit 1; -- it is not removed meanwhile
    if found then
        raise exception using
            errcode = 'foreign_key_violation', schema = 'klingwatch', table = 'tasks', column = 'relay', constraint = refusal, message = refusal,
            hint = 'Add it: klingwatch relays add NAME URL';
    end if;
    for path in
        select distinct i.action || '/' || i.action2
        from (select distinct relay, action, action2 from inserted) i left join klingwatch.relays r on r.name = i.relay
        where not klingwatch.is_documented(i.action, i.action2) and coalesce(r.task_path, '{action}') like '%{action%' limit 5
    loop
        raise notice 'nobody documents the path %: the task is polled all the same, but check the spelling', path;
    end loop;
    return null;
end
$$;

comment on function klingwatch.check_relay() is 'Trigger: refuses tasks of a relay that is not known, and notes paths that nobody documents.';
revoke all on function klingwatch.check_relay() from public;

create trigger check_relay after insert on klingwatch.tasks
    referencing new table as inserted for each statement execute function klingwatch.check_relay();

-- Until a second relay is added, one task_id under one path is one task, as it is for the version before and for apps that write
-- "on conflict (task_id, action, action2)". With the second relay that is no longer true: the key that says so gives way to one with the
-- relay. Until then an insert pays for one index, not for two.
create function klingwatch.change_key() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from pg_index where indexrelid = to_regclass('klingwatch."relay, task_id, action, action2: this task is tracked already"') and indisvalid) then
        if pg_relation_size('klingwatch.tasks') > 64 * 1024 * 1024 then
            raise exception using errcode = 'object_not_in_prerequisite_state',
                message = 'the first relay beside default needs an index on klingwatch.tasks: add it with klingwatch relays add, which builds the index while tasks are inserted';
        end if;
        drop index if exists klingwatch."relay, task_id, action, action2: this task is tracked already";
        create unique index "relay, task_id, action, action2: this task is tracked already" on klingwatch.tasks (task_id, relay, action, action2);
    end if;
    if exists (select from pg_constraint where conrelid = 'klingwatch.tasks'::regclass and conname = 'task_id, action, action2: this task is tracked already') then
        alter table klingwatch.tasks drop constraint "task_id, action, action2: this task is tracked already"; -- locks the table for a moment
    end if;
    return null;
end
$$;

comment on function klingwatch.change_key() is 'Trigger: gives tasks the unique key with the relay instead of the one without when the first relay beside default comes.';
revoke all on function klingwatch.change_key() from public;

create trigger change_key after insert on klingwatch.relays
    for each row when (new.name <> 'default') execute function klingwatch.change_key();

-- A pause that one process suspects is confirmed when no other has been answered with the key meanwhile.
alter table klingwatch.polling_pauses add column confirmed boolean not null default true;
comment on column klingwatch.polling_pauses.confirmed is 'false while one process asks the others whether the key is accepted elsewhere: until then nothing is paused';
comment on column klingwatch.polling_pauses.credential is 'fingerprint of host and key: relays.credential';
