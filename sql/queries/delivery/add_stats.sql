-- Adds to what is counted of each minute. The rows come in one order, so that two that write
-- never wait for each other.
insert into delivery_stats as s
    (subscription_id, at, minutes, tenant_id, delivered, first_try, dead, failed, latency,
        last_success_at, last_failure_at, last_failure_class, last_failure_status)
select c.subscription_id, c.at, 1, c.tenant_id, c.delivered, c.first_try, c.dead,
    ($7::int4[])[(c.n - 1) * 8 + 1 : c.n * 8], ($8::int4[])[(c.n - 1) * 16 + 1 : c.n * 16],
    c.last_success_at, c.last_failure_at, c.last_failure_class, c.last_failure_status
from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::int4[], $5::int4[], $6::int4[],
        $9::timestamptz[], $10::timestamptz[], $11::text[], $12::int2[])
    with ordinality as c (subscription_id, at, tenant_id, delivered, first_try, dead,
        last_success_at, last_failure_at, last_failure_class, last_failure_status, n)
order by c.subscription_id, c.at
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
