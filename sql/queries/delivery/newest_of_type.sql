-- The newest event of a type that was delivered to one of the tenant's subscriptions, among the
-- newest few of each.
select e.body
from (
    select newest.event_id
    from webhook_subscriptions s
    cross join lateral (
        select d.event_id, d.event_type
        from webhook_deliveries d
        where d.subscription_id = s.id
        order by d.event_id desc
        limit 100
    ) newest
    where newest.event_type = $1
) found
join webhook_events e on e.id = any (array[found.event_id])
where e.rule <> ''
order by e.id desc
limit 1
