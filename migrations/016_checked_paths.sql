-- no transaction
-- The rows that are there fit the checks of 014.

alter table klingwatch.tasks validate constraint "action: 1 to 64 letters, digits, ., _ and -, not . or ..";

alter table klingwatch.tasks validate constraint "action2: 1 to 3 parts of letters, digits, ., _, -, not . or ..";
