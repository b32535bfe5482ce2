-- Of a page of events ($1) those that were to be sent, by the subscriptions' indexes; $2 and $3
-- bound the ids of the deliveries, and so say which days to look into.
select d.event_id, count(distinct d.subscription_id) as deliveries,
    count(distinct d.subscription_id) filter (where d.status = 'delivered') as delivered
from (
    select id from webhook_subscriptions
    union all
    select subscription_id from deleted_subscriptions
) own
cross join lateral (
    select w.event_id, w.subscription_id, w.status
    from webhook_deliveries w
    where w.subscription_id = own.id and w.event_id = any ($1) and w.id >= $2 and w.id < $3
) d
group by d.event_id
