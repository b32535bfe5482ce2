-- A tenant's newest: of each of its subscriptions those that are delivered to it, and those
-- without a subscriber, each by its own index scan. $4 and $5 bound the ids of
-- the deliveries, which carry their events' milliseconds, and so say which days to look into.
select e.id, e.event_type, e.occurred_at, e.commit_lsn, e.ordinal, e.rule_index, e.row_key, e.rule = '' as is_test, null::bytea as body
from (
    select id
    from (
        (select id
        from webhook_events
        where not has_deliveries and tenant_id = current_tenant()
            and id >= $1 and id < $2
        order by id desc
        limit $3)
        union
        (select newest.event_id
        from (
            select id from webhook_subscriptions
            union all
            select subscription_id from deleted_subscriptions
        ) own
        cross join lateral (
            select d.event_id
            from webhook_deliveries d
            where d.subscription_id = own.id and d.replay_id is null
                and d.event_id >= $1 and d.event_id < $2 and d.id >= $4 and d.id < $5
            order by d.event_id desc
            limit $3
        ) newest)
    ) found
    order by id desc
    limit $3
) page
join webhook_events e on e.id = any (array[page.id])
order by e.id desc
