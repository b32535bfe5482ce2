-- Endpoints whose last attempts failed, those of the longest time first; how many there are, and
-- how many of them have done nothing but fail for a minute or more.
select id, tenant_id, url, breaker, failing_since, failing_reason,
    extract(epoch from now() - failing_since)::float8 as age_seconds,
    count(*) over () as total,
    count(*) filter (where failing_since <= now() - interval '1 minute') over () as for_a_minute
from webhook_subscriptions
where active and failing_since is not null
order by failing_since, id
limit 20
