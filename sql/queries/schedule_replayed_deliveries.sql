insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
select ids.id, $3, $4, ids.event_type, 'pending', now()
from unnest($1::uuid[], $2::text[]) as ids (id, event_type)
