-- What happened in the last day, and a little before it.
insert into klingwatch.webhook_endpoints (url, event_types, failing_since, last_error)
values ('https://fine.example/hook', '{task.succeeded}', null, null),
       ('https://failing.example/hook', '{task.succeeded}', now() - interval '2 h', 'http_status: HTTP 500'),
       ('https://idle.example/hook', '{task.succeeded}', null, null);
insert into klingwatch.webhook_endpoints (url, event_types, disabled_at, disabled_reason)
values ('https://gone.example/hook', '{task.succeeded}', now() - interval '1 h', 'the receiver answered 410 Gone');

insert into klingwatch.tasks (task_id, action, action2, created_at)
select 'r' || i, 'images', 'generations', now() - interval '23 h' + i * interval '1 h' from generate_series(0, 19) as i
union all
select 'old', 'images', 'generations', now() - interval '25 h';

insert into klingwatch.events (event_id, task, sequence, type, payload, created_at)
select 'msg_' || t.id, t.id, 1, case when t.id % 4 = 0 then 'task.failed' when t.id = 5 then 'task.canceled' else 'task.succeeded' end, '{}', t.created_at + interval '10 min'
from klingwatch.tasks t;

insert into klingwatch.deliveries (event, endpoint, url, state, created_at, tries_since, delivered_at, last_error)
select e.id, 1, 'https://fine.example/hook', 'delivered', e.created_at, e.created_at, e.created_at + e.id * interval '10 ms', null
from klingwatch.events e
union all
select e.id, 2, 'https://failing.example/hook', case when e.id % 2 = 0 then 'exhausted' else 'pending' end, e.created_at, e.created_at, null, 'http_status: HTTP 500'
from klingwatch.events e
union all
select e.id, null, 'https://app.example/hooks/' || e.id || '?token=1', 'delivered', e.created_at, e.created_at, e.created_at + interval '1 s', null
from klingwatch.events e;

-- sent again by a person much later: no measure of how fast webhooks are
update klingwatch.deliveries set tries_since = now(), delivered_at = now() where id = 1;
