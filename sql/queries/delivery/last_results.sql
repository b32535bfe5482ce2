-- Each from the newest interval that has one.
select own.id as subscription_id, success.last_success_at, failure.last_failure_at,
    failure.last_failure_class, failure.last_failure_status
from unnest($1::uuid[]) as own (id)
left join lateral (
    select s.last_success_at
    from delivery_stats s
    where s.subscription_id = own.id and s.last_success_at is not null
    order by s.at desc
    limit 1
) success on true
left join lateral (
    select s.last_failure_at, s.last_failure_class, s.last_failure_status
    from delivery_stats s
    where s.subscription_id = own.id and s.last_failure_at is not null
    order by s.at desc
    limit 1
) failure on true
