-- As list_scheduled_deliveries.sql, of one subscription ($4) and in one status ($1): by its own rows,
-- or through its tenant's in order where it has many of them. The planner weighs that by the
-- status, which it sees where it stands alone. Failed and open ones are in no batch and have no
-- lease.
select d.*, coalesce(s.batch_id, d.batch_id) as shown_batch, coalesce(b.status, s.status) as waits,
    coalesce(b.parked_reason, s.parked_reason) as parked_reason, coalesce(b.due_at, s.due_at) as due_at,
    false as leased
from (
    select * from delivery_schedule w
    where w.status = $1 and w.subscription_id = $4 and w.tenant_id = current_tenant()
        and w.delivery_id >= $2 and w.delivery_id < $3
        and (w.lease_owner is null or w.leased_until <= now())
        and (w.batch_id is null or w.batch_id <> w.delivery_id and not exists (
            select from delivery_schedule l
            where l.delivery_id = any (array[w.batch_id]) and l.lease_owner is not null and l.leased_until > now()
        ))
        and (w.status <> 'batched' or $6 = exists (
            select from delivery_schedule p
            where p.delivery_id = any (array[w.batch_id]) and p.status = 'parked'
        ))
    order by w.delivery_id desc
    limit $5
) s
join webhook_deliveries d on d.id = any (array[s.delivery_id])
left join delivery_schedule b on b.delivery_id = any (array[s.batch_id])
order by d.id desc
