select id, event_type, occurred_at, commit_lsn, ordinal, rule_index, null::bytea as body
from webhook_events
where id >= $1 and id < $2 and ($3::text is null or event_type = $3)
order by id desc
limit $4
