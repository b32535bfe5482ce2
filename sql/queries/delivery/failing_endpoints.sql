-- Endpoints that have done nothing but fail for a minute or more, those of the longest time
-- first, and how many there are.
select id, tenant_id, url, breaker, failing_since, failing_reason,
    extract(epoch from now() - failing_since)::float8 as age_seconds,
    count(*) over () as total
from webhook_subscriptions
where active and failing_since <= now() - interval '1 minute'
order by failing_since, id
limit 20
