-- A signing secret for each app that wants its own; the deployment's is for all others.

alter table klingwatch.signing_keys
    add column app text
        constraint "app: its keys are v1, for callback_url" check (app is null or endpoint is null and version = 'v1' and app <> '');

comment on column klingwatch.signing_keys.app is 'tasks.app: signs the callback_url of its tasks, in the place of the deployment''s key; null: the key of an endpoint or of the deployment';
comment on column klingwatch.signing_keys.endpoint is 'webhook_endpoints.id; null: the deployment''s key, v1 for callback_url, v1a for all, or an app''s';

drop index klingwatch.signing_keys_current;
create unique index signing_keys_current on klingwatch.signing_keys (coalesce(endpoint, 0), coalesce(app, ''), version) where expires_at is null;
