update webhook_deliveries
set status = 'cancelled', owner = null, next_attempt_at = null
where id = any($1) and status = 'pending'
