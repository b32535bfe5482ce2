-- When each endpoint last succeeded and failed, in one order as add_stats, and of the same
-- subscriptions.
insert into subscription_results as s
    (subscription_id, tenant_id, last_success_at, last_failure_at, last_failure_class,
        last_failure_status)
select subscription_id, min(tenant_id), max(success_at), max(failure_at),
    (array_agg(failure_class order by failure_at desc nulls last))[1],
    (array_agg(failure_status order by failure_at desc nulls last))[1]
from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::int2[])
    as c (subscription_id, tenant_id, success_at, failure_at, failure_class, failure_status)
where exists (select from webhook_subscriptions w where w.id = any (array[c.subscription_id]))
    or exists (
        select from deleted_subscriptions d
        where d.subscription_id = any (array[c.subscription_id])
    )
group by subscription_id
order by subscription_id
on conflict (subscription_id) do update
set last_success_at = greatest(s.last_success_at, excluded.last_success_at),
    last_failure_class = case when excluded.last_failure_at >= s.last_failure_at
        or s.last_failure_at is null then excluded.last_failure_class else s.last_failure_class end,
    last_failure_status = case when excluded.last_failure_at >= s.last_failure_at
        or s.last_failure_at is null then excluded.last_failure_status else s.last_failure_status end,
    last_failure_at = greatest(s.last_failure_at, excluded.last_failure_at)
