-- Of each row of which a delivery has ended, the first that is left is claimable now.
with ended as (
    select distinct subscription_id, order_key
    from unnest($1::uuid[], $2::int8[]) as e (subscription_id, order_key)
),
next as materialized (
    select first.delivery_id
    from ended
    join webhook_subscriptions w on w.id = any (array[ended.subscription_id])
    cross join lateral (
        select s.delivery_id, s.status
        from delivery_schedule s
        where s.subscription_id = ended.subscription_id and s.order_key = ended.order_key
            and s.status in ('pending', 'held') and coalesce(s.tenant_id = w.tenant_id, false)
        order by s.commit_lsn, s.ordinal, s.rule_index, s.delivery_id
        limit 1
    ) first
    where first.status = 'held'
)
update delivery_schedule s
set status = 'pending', due_at = clock_timestamp()
from next
where s.delivery_id = any (array[next.delivery_id]) and s.status = 'held'
returning s.subscription_id
