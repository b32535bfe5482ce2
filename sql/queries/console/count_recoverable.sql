-- What retrying would find, by endpoint: $1 the state, $2 and $3 bounds of the ids, $4 the type,
-- $5 the endpoint, $6 how many are counted at most, the newest of them. Leased ones are in flight.
-- Those of one endpoint are found by its own rows, and not among all of the tenant's.
select found.subscription_id, count(*) as deliveries,
    min(found.delivery_id::text) as oldest, max(found.delivery_id::text) as newest
from (
    select s.delivery_id, s.subscription_id
    from unnest(case $1 when 'pending' then '{pending,open,batched}' else array[$1] end)
        as wanted (status)
    cross join lateral (
        (select w.delivery_id, w.subscription_id
        from delivery_schedule w
        where $5::uuid is null and w.tenant_id = current_tenant() and w.status = wanted.status
            and w.delivery_id >= $2 and w.delivery_id < $3
            and ($4::text is null or w.event_type = $4)
            and (w.lease_owner is null or w.leased_until <= now())
            and w.batch_id is distinct from w.delivery_id
        order by w.delivery_id desc
        limit $6)
        union all
        (select w.delivery_id, w.subscription_id
        from delivery_schedule w
        where wanted.status = 'failed' and w.status = 'failed' and w.subscription_id = $5
            and w.delivery_id >= $2 and w.delivery_id < $3
            and ($4::text is null or w.event_type = $4)
        order by w.delivery_id desc
        limit $6)
        union all
        (select w.delivery_id, w.subscription_id
        from delivery_schedule w
        where wanted.status = 'open' and w.status = 'open' and w.subscription_id = $5
            and w.delivery_id >= $2 and w.delivery_id < $3
            and ($4::text is null or w.event_type = $4)
        order by w.delivery_id desc
        limit $6)
        union all
        (select w.delivery_id, w.subscription_id
        from delivery_schedule w
        where wanted.status not in ('failed', 'open') and w.status = wanted.status
            and w.status <> 'open' and w.subscription_id = $5
            and w.delivery_id >= $2 and w.delivery_id < $3
            and ($4::text is null or w.event_type = $4)
            and (w.lease_owner is null or w.leased_until <= now())
            and w.batch_id is distinct from w.delivery_id
        order by w.delivery_id desc
        limit $6)
    ) s
    limit $6
) found
group by found.subscription_id
order by count(*) desc
