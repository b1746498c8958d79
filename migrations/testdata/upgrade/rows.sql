-- Rows in all states, as the version with steps 001 to 009 wrote them.
insert into klingwatch.webhook_endpoints (url, event_types, actions, thin, description, failing_since, last_error, last_failed_at, failures, warned_at)
values ('https://fine.example/hook', '{task.succeeded,task.failed}', '{}', false, 'all', null, null, null, 0, null),
       ('https://failing.example/hook', '{task.failed,endpoint.disabled}', '{videos,images/generations}', true, '', now() - interval '2 h', 'timeout', now(), 120, now());
insert into klingwatch.webhook_endpoints (url, event_types, disabled_at, disabled_reason)
values ('https://gone.example/hook', '{task.failed}', now() - interval '1 h', 'the receiver answered 410 Gone');

insert into klingwatch.signing_keys (endpoint, version, secret, expires_at)
values (null, 'v1', 'whsec_old', now() + interval '1 h'), (null, 'v1', 'whsec_now', null), (null, 'v1a', 'whsk_now', null), (1, 'v1', 'enc_a', null), (2, 'v1', 'whsec_b', null), (3, 'v1', 'whsec_c', null);

insert into klingwatch.polling_pauses (credential, reason, probe_at)
values ('0a1b2c3d', 'HTTP 401', now() + interval '1 min');

-- a task of each status, by inserting it and by the writes of its polls
insert into klingwatch.tasks (task_id, action, action2, external_id, callback_url, metadata, deadline_at)
select status, 'videos', 'text2video', 'order-' || status, 'https://app.example/hook', '{"a": 1}', now() + interval '1 d'
from unnest(array['pending', 'submitted', 'processing', 'succeeded', 'failed', 'expired', 'not_found', 'canceled', 'retried']) as status;
insert into klingwatch.tasks (task_id, action, action2)
values ('bare', 'videos', 'avatar/image2video');

update klingwatch.tasks
set status = task_id,
    status_message = 'as ' || task_id,
    upstream_status = 'word of ' || task_id,
    error_code = '1200',
    request_id = 'r-' || task_id,
    result = '{"code": 0}',
    unit_deduction = 0.75,
    polls = 7,
    last_error = 'timeout',
    last_polled_at = now(),
    submitted_at = now(),
    processing_at = now(),
    upstream_created_at = now() - interval '1 min',
    upstream_updated_at = now(),
    finished_at = case when task_id not in ('submitted', 'processing') then now() end,
    late_checks_until = case when task_id = 'expired' then now() + interval '3 d' end
where task_id in ('submitted', 'processing', 'succeeded', 'failed', 'expired', 'not_found', 'canceled');
update klingwatch.tasks set retried_at = now() where task_id = 'retried';

insert into klingwatch.outputs (task, kind, position, url, upstream_id, duration_seconds, watermark_url, expires_at)
select id, 'video', position, 'https://cdn.example/' || position, 'v' || position, 5.041, 'https://cdn.example/w', now() + interval '30 d'
from klingwatch.tasks, generate_series(0, 1) as position
where status = 'succeeded';

insert into klingwatch.events (event_id, task, sequence, type, payload, traceparent)
select 'msg_' || id, id, 1, 'task.' || status, jsonb_build_object('id', id), '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
from klingwatch.tasks
where status <> 'pending';
insert into klingwatch.events (event_id, type, payload)
values ('msg_gone', 'endpoint.disabled', '{"id": 3}');

-- a delivery in each state: due, parked, held back, ended
insert into klingwatch.deliveries (event, endpoint, url, state, attempts, next_attempt_at, delivered_at, last_error, held_since, tries_before)
values (1, null, 'https://app.example/hook', 'pending', 0, now(), null, null, null, 0),
       (2, 3, 'https://gone.example/hook', 'pending', 2, null, null, 'http_status: HTTP 410', null, 0),
       (3, 2, 'https://failing.example/hook', 'pending', 1, now() + interval '1 h', null, 'timeout', now(), -1),
       (4, 1, 'https://fine.example/hook', 'delivered', 1, null, now(), null, null, 0),
       (5, 1, 'https://fine.example/hook', 'exhausted', 10, null, null, 'timeout', null, 0),
       (6, null, 'https://app.example/hook', 'canceled', 3, null, null, 'canceled by a person', null, 0);
insert into klingwatch.delivery_attempts (delivery, attempt, finished_at, status_code, error, response_body, remote_addr, first_byte_seconds)
values (4, 1, now(), 204, null, '', '192.0.2.1:443', 0.25), (3, 1, now(), null, 'timeout', null, null, null);

insert into klingwatch.redeliveries (endpoint, since, until, states, per_second, matched, last, redelivered, position, finished_at)
values (1, now() - interval '1 d', now(), '{exhausted}', 50, 1, 6, 0, 0, null), (null, now() - interval '1 d', now(), '{delivered}', 50, 1, 6, 1, 4, now());

-- jobs as River leaves them: asleep with what they remember, at work, finished
update klingwatch.river_job set state = 'scheduled', scheduled_at = now() + interval '1 h', metadata = '{"klingwatch": {"polls": 9}}'
where unique_key = klingwatch.job_key('poll', 1);
update klingwatch.river_job set state = 'running', attempt = 1, attempted_at = now(), attempted_by = '{kw1}'
where unique_key = klingwatch.job_key('poll', 2);
update klingwatch.river_job set state = 'completed', finalized_at = now()
where unique_key in (select klingwatch.job_key('poll', id) from klingwatch.tasks where status in ('succeeded', 'failed', 'not_found', 'canceled'));

-- days that are over are summarized
update klingwatch.tasks set created_at = now() - interval '2 d' where status in ('succeeded', 'failed');
update klingwatch.report_state set summarized_until = summarized_until - 3;
select klingwatch.refresh_reports();
