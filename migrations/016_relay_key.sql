-- no transaction
-- One task is one task_id under one path at one relay.

alter table klingwatch.tasks validate constraint "action: 1 to 64 letters, digits, ., _ and -, not . or ..";

alter table klingwatch.tasks validate constraint "action2: 1 to 3 parts of letters, digits, ., _, -, not . or ..";

create unique index concurrently if not exists "relay, task_id, action, action2: this task is tracked already"
    on klingwatch.tasks (task_id, relay, action, action2);
