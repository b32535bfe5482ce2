-- What batches consist of, in the order in which it is sent. The limit, which none has
-- beyond, keeps the planner from reading all batches at once. As in claim_due, all of it is
-- one tenant's and one endpoint's.
select m.batch_id, m.delivery_id as id, d.event_id, d.event_type, d.tenant_id, d.format,
    d.attempts, e.body, e.occurred_at
from unnest($1::uuid[]) as batch (id)
join delivery_schedule b on b.delivery_id = any (array[batch.id])
join webhook_subscriptions w on w.id = any (array[b.subscription_id])
    and coalesce(w.tenant_id = b.tenant_id, false)
cross join lateral (
    select s.batch_id, s.delivery_id, s.batch_lsn, s.batch_ordinal, s.batch_rule
    from delivery_schedule s
    where s.batch_id = batch.id and s.delivery_id <> s.batch_id
        and coalesce(s.tenant_id = b.tenant_id and s.subscription_id = b.subscription_id, false)
    order by s.batch_lsn, s.batch_ordinal, s.batch_rule, s.delivery_id
    limit 1000
) m
join webhook_deliveries d on d.id = any (array[m.delivery_id])
    and coalesce(d.tenant_id = b.tenant_id and d.subscription_id = b.subscription_id, false)
join webhook_events e on e.id = any (array[d.event_id])
    and coalesce(e.tenant_id = d.tenant_id, false)
order by m.batch_id, m.batch_lsn, m.batch_ordinal, m.batch_rule, m.delivery_id
