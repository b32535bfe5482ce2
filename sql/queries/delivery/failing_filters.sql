-- Subscriptions whose filter has failed within the last hour, the newest first, and how many
-- there are.
select id, tenant_id, filter_error, filter_failures,
    extract(epoch from now() - filter_failed_at)::float8 as age_seconds,
    count(*) over () as total
from webhook_subscriptions
where active and filter_failed_at > now() - interval '1 hour'
order by filter_failed_at desc, id
limit 20
