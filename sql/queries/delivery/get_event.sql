select id, event_type, occurred_at, commit_lsn, ordinal, rule_index, row_key, body
from webhook_events
where id = $1
