-- Moves those of the given deliveries that the instance owns into the schedule.
with disowned as (
    update webhook_deliveries d
    set owner = null, next_attempt_at = now()
    from unnest($2::uuid[]) as lost (id)
    where d.id = any (array[lost.id]) and d.owner = $1 and d.status = 'pending'
    returning d.id, d.subscription_id, d.tenant_id, d.event_type
)
insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
select id, subscription_id, tenant_id, event_type, 'pending', now()
from disowned
on conflict (delivery_id) do nothing
