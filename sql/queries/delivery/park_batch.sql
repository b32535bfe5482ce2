-- So many at most of each status. One that was enabled meanwhile parks nothing. What is
-- leased is being sent at this moment: its result settles it.
with disabled as (
    select id from webhook_subscriptions where id = $1 and not active for share
),
waiting as materialized (
    select found.delivery_id
    from disabled d
    cross join unnest('{pending,held}'::text[]) as wanted (status)
    cross join lateral (
        select s.delivery_id
        from delivery_schedule s
        where s.status = wanted.status and s.subscription_id = d.id
            and (s.lease_owner is null or s.leased_until <= now())
        limit $2
        for update
    ) found
    union all
    select found.delivery_id
    from disabled d
    cross join lateral (
        select s.delivery_id
        from delivery_schedule s
        where s.status = 'open' and s.subscription_id = d.id
        limit $2
        for update
    ) found
)
update delivery_schedule s
set status = 'parked', parked_reason = 'disabled', lease_owner = null
from waiting w
where s.delivery_id = any (array[w.delivery_id])
