-- When a delivery was first attempted.
select coalesce(
    d.first_attempt_at,
    (select a.started_at from webhook_attempts a where a.delivery_id = d.id order by a.number limit 1)
) as first_attempt_at
from webhook_deliveries d
where d.id = $1
