select event_type, commit_lsn, ordinal, rule_index, row_key, octet_length(body) as body_bytes
from webhook_events
where id = $1
