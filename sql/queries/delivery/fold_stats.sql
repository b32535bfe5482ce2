-- Puts what is counted by $1 minutes, and from before $3, together by $2 minutes.
with old as (
    delete from delivery_stats
    where minutes = $1
        and at < date_bin(make_interval(mins => $2), $3::timestamptz, '2000-01-01 00:00:00Z')
    returning *
),
folded as (
    select subscription_id, date_bin(make_interval(mins => $2), at, '2000-01-01 00:00:00Z') as since,
        min(tenant_id) as tenant_id, sum(delivered)::int4 as delivered,
        sum(first_try)::int4 as first_try, sum(dead)::int4 as dead, sum_counts(failed) as failed,
        sum_counts(latency) as latency, max(last_success_at) as last_success_at,
        max(last_failure_at) as last_failure_at,
        (array_agg(last_failure_class order by last_failure_at desc nulls last))[1]
            as last_failure_class,
        (array_agg(last_failure_status order by last_failure_at desc nulls last))[1]
            as last_failure_status
    from old
    group by subscription_id, since
)
insert into delivery_stats as s
    (subscription_id, at, minutes, tenant_id, delivered, first_try, dead, failed, latency,
        last_success_at, last_failure_at, last_failure_class, last_failure_status)
select subscription_id, since, $2, tenant_id, delivered, first_try, dead, failed, latency,
    last_success_at, last_failure_at, last_failure_class, last_failure_status
from folded
order by subscription_id, since
on conflict (subscription_id, at, minutes) do update
set delivered = s.delivered + excluded.delivered,
    first_try = s.first_try + excluded.first_try,
    dead = s.dead + excluded.dead,
    failed = add_counts(s.failed, excluded.failed),
    latency = add_counts(s.latency, excluded.latency),
    last_success_at = greatest(s.last_success_at, excluded.last_success_at),
    last_failure_class = case when excluded.last_failure_at >= s.last_failure_at
        or s.last_failure_at is null then excluded.last_failure_class else s.last_failure_class end,
    last_failure_status = case when excluded.last_failure_at >= s.last_failure_at
        or s.last_failure_at is null then excluded.last_failure_status else s.last_failure_status end,
    last_failure_at = greatest(s.last_failure_at, excluded.last_failure_at)
