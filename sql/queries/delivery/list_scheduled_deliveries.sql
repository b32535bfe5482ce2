-- Each status by its own walk of the index, which ends at the page: successes are never met.
-- What is in a batch waits as that does, and is parked ($6) where that is; a batch is no delivery.
select d.*, coalesce(s.batch_id, d.batch_id) as shown_batch, coalesce(b.status, s.status) as waits,
    coalesce(b.parked_reason, s.parked_reason) as parked_reason, coalesce(b.due_at, s.due_at) as due_at,
    false as leased
from (
    select found.*
    from unnest($1::text[]) as wanted (status)
    cross join lateral (
        select * from delivery_schedule w
        where w.tenant_id = current_tenant() and w.status = wanted.status
            and w.delivery_id >= $2 and w.delivery_id < $3
            and ($4::uuid is null or w.subscription_id = $4)
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
    ) found
    order by delivery_id desc
    limit $5
) s
join webhook_deliveries d on d.id = any (array[s.delivery_id])
left join delivery_schedule b on b.delivery_id = any (array[s.batch_id])
order by d.id desc
