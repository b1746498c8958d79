-- A webhook belongs to the trace of the poll that caused it, also when another process sends it, days later.

alter table klingwatch.events add column traceparent text;
-- "not valid": no scan of what is there, where it is null
alter table klingwatch.events add constraint "traceparent: as in the header of W3C Trace Context"
    check (traceparent ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$') not valid;

comment on column klingwatch.events.traceparent is 'trace of the poll that brought the change, as a W3C traceparent; null where tracing was off';
