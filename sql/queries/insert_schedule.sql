insert into delivery_schedule
    (delivery_id, subscription_id, tenant_id, event_type, status, parked_reason, due_at)
select id, subscription_id, tenant_id, event_type,
    case when parked_reason is null then 'pending' else 'parked' end, parked_reason, now()
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[])
    as s (id, subscription_id, tenant_id, event_type, parked_reason)
on conflict (delivery_id) do nothing
