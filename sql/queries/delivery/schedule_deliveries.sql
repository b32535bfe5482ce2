-- Each by itself, also what waited to be sent in a batch.
insert into delivery_schedule
    (delivery_id, subscription_id, tenant_id, event_type, status, due_at, tried, trigger, actor)
select id, subscription_id, tenant_id, event_type, 'pending', now(), attempts > 0, $2::int2, $3::uuid
from webhook_deliveries
where id = any($1)
on conflict (delivery_id) do update
set status = 'pending', parked_reason = null, due_at = excluded.due_at, lease_owner = null,
    batch_id = null, body_bytes = null, trigger = excluded.trigger, actor = excluded.actor
