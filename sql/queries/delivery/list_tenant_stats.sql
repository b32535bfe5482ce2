-- As list_stats, of all that the tenant has or had.
select date_bin(make_interval(mins => $3), s.at, '2000-01-01 00:00:00Z') as at,
    sum(s.delivered) as delivered, sum(s.first_try) as first_try, sum(s.dead) as dead,
    sum_counts(s.failed)::int8[] as failed, sum_counts(s.latency)::int8[] as latency
from (
    select id from webhook_subscriptions
    union all
    select subscription_id from deleted_subscriptions
) own
cross join lateral (
    select *
    from delivery_stats c
    where c.subscription_id = own.id and c.at >= $1 and c.at < $2
) s
group by 1
order by 1
