-- Three days in January; the third is "today" for the summaries.
insert into klingwatch.tasks (task_id, action, action2, external_id, status, status_message, error_code, unit_deduction, polls,
                              created_at, processing_at, finished_at, last_polled_at)
select 't' || i, 'videos', 'text2video', 'order-' || i,
       case when i % 10 = 0 then 'failed' when i % 25 = 1 then 'expired' else 'succeeded' end,
       case when i % 10 = 0 then 'content refused, request ' || (1000 + i) when i % 25 = 1 then 'it had not ended by its deadline' else '' end,
       case when i % 10 = 0 then '1301' end,
       case when i % 10 = 0 then null else 2.5 end, 1 + i % 7,
       day + i * interval '10 min', day + i * interval '10 min' + interval '20 s', day + i * interval '10 min' + interval '20 s' + i * interval '1 s',
       day + i * interval '10 min' + interval '20 s' + i * interval '1 s'
from generate_series(1, 100) as i, (values (timestamptz '2026-01-01 00:00:00+00')) as d (day);

insert into klingwatch.tasks (task_id, action, action2, status, status_message, created_at, finished_at)
values ('n1', 'images', 'generations', 'not_found', 'the relay does not know it', '2026-01-02 23:59:59.999+00', '2026-01-03 00:03:00+00'),
       ('c1', 'images', 'generations', 'canceled', 'tracking was stopped by a person', '2026-01-02 10:00:00+00', '2026-01-02 10:01:00+00');

insert into klingwatch.tasks (task_id, action, action2, status, status_message, error_code, polls, created_at, processing_at, finished_at)
values ('f1', 'videos', 'text2video', 'failed', 'content refused, request 77', '1301', 3, '2026-01-03 00:00:00+00', '2026-01-03 00:00:10+00', '2026-01-03 00:02:00+00'),
       ('s1', 'videos', 'text2video', 'succeeded', '', null, 5, '2026-01-03 01:00:00+00', null, '2026-01-03 01:01:00+00');

insert into klingwatch.tasks (task_id, action, action2, external_id, status, polls, created_at, processing_at, deadline_at)
values ('p1', 'videos', 'text2video', 'order-p', 'processing', 4, '2026-01-03 02:00:00+00', '2026-01-03 02:00:05+00', '2026-01-04 02:00:00+00'),
       ('q1', 'audio', 'tts', null, 'pending', 0, '2026-01-03 03:00:00+00', null, null);

insert into klingwatch.outputs (task, kind, position, url, duration_seconds, expires_at)
select id, 'video', 0, 'https://cdn.example/' || task_id || '.mp4', 5.041, finished_at + interval '30 days'
from klingwatch.tasks where task_id in ('t2', 's1');
