select id, event_type, occurred_at, commit_lsn, ordinal, rule_index, body
from webhook_events
where id = $1
