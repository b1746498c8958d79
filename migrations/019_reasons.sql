-- Reasons without what differs from one task to the next, so that the same trouble is one line in a report. Tasks that ended late are marked:
-- how long they took tells when we looked again, not how long the provider took.

alter table klingwatch.tasks add column late boolean not null default false;
comment on column klingwatch.tasks.late is 'its end came when we had given it up already (expired, not_found, or failed by the relay); its durations are in no report';

create or replace function klingwatch.short_reason(status_message text) returns text
    language plpgsql immutable parallel safe
as $$
declare
    -- letters and digits are spelt out: what \w means depends on the database's locale
    reason text := left(status_message, 1000);
begin
    if reason !~ '[0-9"''`“「@:=：]' then
        return left(reason, 200);
    end if;

    -- URLs and e-mail addresses; encoded files
    reason := regexp_replace(reason, '[A-Za-z][A-Za-z0-9+.-]*://[^[:space:]"''`<>，。）]*[^[:space:]"''`<>，。）.,:;)\]}]'
                                     || '|[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.-]*[A-Za-z0-9]'
                                     || '|[A-Za-z0-9+/_=-]{40,}', '#', 'g');

    -- what is quoted, except the names of fields and an error message inside JSON; an apostrophe quotes nothing
    reason := translate(reason, '“”「」`', '"""""');
    reason := regexp_replace(reason, '(^|[^A-Za-z0-9])''([^'']*)''(?![A-Za-z0-9])', '\1"\2"', 'g');
    if position('"' in reason) > 0 then
        reason := regexp_replace(reason, '"(message|msg|error_message|reason|fail_reason|detail|error)"\s?:\s?"([^"]*)"', '\1: \2', 'g');
        reason := regexp_replace(reason, '"([A-Za-z]+[._][A-Za-z._]+)"', E'\x01\\1\x01', 'g');
        reason := regexp_replace(reason, '"([A-Za-z]+)"(?=\s?:)', E'\x01\\1\x01', 'g');
        if reason ~ 'field|param|property|argument|tag|Field' then
            reason := regexp_replace(reason, '"([A-Za-z]+)"(?= (?:field|param|parameter|property|argument|tag)\M)', E'\x01\\1\x01', 'g');
            reason := regexp_replace(reason, '((?:field|param|parameter|property|argument|tag|validation for) )"([A-Za-z]+)"', E'\\1\x01\\2\x01', 'g');
        end if;
        reason := translate(regexp_replace(reason, '"[^"]*"', '"#"', 'g'), E'\x01', '"');
        reason := regexp_replace(reason, '"#"(\s?[,;/|]\s?"#")+', '"#"', 'g');
    end if;

    -- what follows "id:", "request_id=", "taskId:", "requestid:"; other words end with these letters too, like "invalid:"
    reason := regexp_replace(reason, '((?:^|[^A-Za-z])[Ii][Dd]s?"?\s?[:=：]\s?"?)[^[:space:],，;；。()\[\]{}"]+', '\1#', 'g');
    if reason ~ '[a-z][Ii][Dd]s?"?\s?[:=：]' then
        reason := regexp_replace(reason, '((?:[a-z]I[Dd]|(?:request|task|trace|log|job|order|event|message|session|uu|gu)id)s?"?\s?[:=：]\s?"?)'
                                         || '[^[:space:],，;；。()\[\]{}"]+', '\1#', 'g');
    end if;

    -- tokens that look made by a machine: long ones with a digit, letters and digits in turns, hex, mixed case
    if reason ~ '[0-9]' then
        reason := regexp_replace(reason, '(?<![A-Za-z0-9_-])(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{16,}', '#', 'g');
        reason := regexp_replace(reason, '[A-Za-z]*[0-9]+[A-Za-z]+[0-9][0-9A-Za-z]*', '#', 'g');
        reason := regexp_replace(reason, '\m(?:(?=[a-f]*[0-9])[a-f0-9]{8,}|(?=[A-Za-z]*[0-9])(?=[A-Za-z0-9]*[a-z][A-Z])[A-Za-z0-9]{8,})\M', '#', 'g');
    end if;

    -- numbers, and lists of what is left
    reason := regexp_replace(reason, '[0-9]+([.,:][0-9]+)*', '#', 'g');
    reason := regexp_replace(reason, '#(\s*[,;/|]\s*#)+', '#', 'g');
    return left(btrim(regexp_replace(reason, '\s+', ' ', 'g')), 200);
end
$$;

comment on function klingwatch.short_reason(text) is 'A status_message with # for what differs from task to task (ids, numbers, URLs, quoted values), so that equal reasons group; at most 200 characters.';
