-- What an instance holds in memory is left to it.
update webhook_deliveries
set status = 'pending', next_attempt_at = now(), delivered_at = null
where id = any($1) and owner is null
returning id
