insert into webhook_deliveries
    (id, event_id, event_type, subscription_id, tenant_id, format, replay_id, next_attempt_at)
select *, $4, $5, $6, $7, now()
from unnest($1::uuid[], $2::uuid[], $3::text[])
