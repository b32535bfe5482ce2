-- As list_stats, of all that the tenant has or had.
select date_bin(make_interval(mins => $3), s.at, '2000-01-01 00:00:00Z') as at,
    sum(s.delivered)::int8 as delivered, sum(s.first_try)::int8 as first_try,
    sum(s.dead)::int8 as dead,
    array[
        sum(s.failed_http_status), sum(s.failed_timeout), sum(s.failed_connect),
        sum(s.failed_dns), sum(s.failed_tls), sum(s.failed_blocked), sum(s.failed_response),
        sum(s.failed_request)
    ]::int8[] as failed,
    array[
        sum(s.took_2ms), sum(s.took_5ms), sum(s.took_10ms), sum(s.took_20ms), sum(s.took_50ms),
        sum(s.took_100ms), sum(s.took_200ms), sum(s.took_500ms), sum(s.took_1s), sum(s.took_2s),
        sum(s.took_5s), sum(s.took_10s), sum(s.took_20s), sum(s.took_30s), sum(s.took_60s),
        sum(s.took_longer)
    ]::int8[] as latency
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
