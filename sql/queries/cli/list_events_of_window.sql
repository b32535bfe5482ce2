-- A window's events in the order of their ids, a page at a time.
select id, tenant_id, event_type, rule, commit_lsn, ordinal, row_key, occurred_at, body
from webhook_events
where id > $1 and id < $2
order by id
limit $3
