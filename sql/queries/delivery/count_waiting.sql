-- What waits for each subscription in the schedule, each status up to a limit. Batches are not
-- deliveries themselves. The open ones have an index of their own.
select own.id as subscription_id,
    count(*) filter (where wanted.status <> 'parked') as pending,
    count(*) filter (where wanted.status = 'parked') as parked
from unnest($1::uuid[]) as own (id)
cross join unnest('{pending,held,batched,open,parked}'::text[]) as wanted (status)
cross join lateral (
    (select
    from delivery_schedule s
    where wanted.status <> 'open' and s.status = wanted.status and s.status <> 'open'
        and s.subscription_id = own.id and s.batch_id is distinct from s.delivery_id
    limit $2)
    union all
    (select
    from delivery_schedule s
    where wanted.status = 'open' and s.status = 'open' and s.subscription_id = own.id
    limit $2)
) found
group by own.id
