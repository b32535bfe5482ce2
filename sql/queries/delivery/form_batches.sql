-- Closes batches: their members, and a row for each, which is due.
with closed as (
    update delivery_schedule s
    set status = 'batched', batch_id = m.batch_id
    from unnest($1::uuid[], $2::uuid[]) as m (delivery_id, batch_id)
    where s.delivery_id = any (array[m.delivery_id])
    returning m.batch_id, s.trigger, s.actor
),
-- A batch whose members were all asked for by one call is that call's.
cause as (
    select batch_id,
        case when count(distinct coalesce(trigger, 0)) = 1 then min(trigger) end as trigger,
        case when count(distinct actor) = 1 and count(actor) = count(*)
            then (array_agg(actor))[1] end as actor
    from closed
    group by batch_id
)
insert into delivery_schedule
    (delivery_id, batch_id, subscription_id, tenant_id, event_type, status, due_at, body_bytes,
        trigger, actor)
select batch.id, batch.id, batch.subscription_id, batch.tenant_id, 'webhook.batch', 'pending',
    now(), batch.body_bytes, cause.trigger, cause.actor
from unnest($3::uuid[], $4::uuid[], $5::text[], $6::int4[])
    as batch (id, subscription_id, tenant_id, body_bytes)
left join cause on cause.batch_id = batch.id
