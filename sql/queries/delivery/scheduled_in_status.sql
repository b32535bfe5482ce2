-- What waits in one status, of a subscription ($3) or of all of the tenant (null): by the
-- subscription's own rows, or through the tenant's in order. The planner weighs that by the status,
-- which it sees where it is written out. What is in a batch waits as that does, and is parked ($5)
-- where that is; a batch is no delivery.
(select * from delivery_schedule w
where w.status = '/* status */' and w.tenant_id = current_tenant()
    and ($3::uuid is null or w.subscription_id = $3)
    and w.delivery_id >= $1 and w.delivery_id < $2
    and (w.lease_owner is null or w.leased_until <= now())
    and (w.batch_id is null or w.batch_id <> w.delivery_id and not exists (
        select from delivery_schedule l
        where l.delivery_id = any (array[w.batch_id]) and l.lease_owner is not null and l.leased_until > now()
    ))
    and (w.status <> 'batched' or $5 = exists (
        select from delivery_schedule p
        where p.delivery_id = any (array[w.batch_id]) and p.status = 'parked'
    ))
order by w.delivery_id desc
limit $4)
