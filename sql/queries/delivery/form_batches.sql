-- Closes batches: their members, and a row for each, which is due.
with closed as (
    update delivery_schedule s
    set status = 'batched', batch_id = m.batch_id
    from unnest($1::uuid[], $2::uuid[]) as m (delivery_id, batch_id)
    where s.delivery_id = any (array[m.delivery_id])
)
insert into delivery_schedule
    (delivery_id, batch_id, subscription_id, tenant_id, event_type, status, due_at, body_bytes)
select id, id, subscription_id, tenant_id, 'webhook.batch', 'pending', now(), body_bytes
from unnest($3::uuid[], $4::uuid[], $5::text[], $6::int4[])
    as batch (id, subscription_id, tenant_id, body_bytes)
