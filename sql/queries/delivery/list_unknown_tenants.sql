-- Tenants of events of the last day that have neither a subscription nor an API token: first
-- those whose spelling alone differs from that of a tenant with a subscription, then the
-- newest; and, in each row, how many there are, and how many events.
select tenant_id, resembles, event_type, events,
    extract(epoch from now() - last_at)::float8 as age_seconds,
    (sum(events) over ())::bigint as all_events,
    coalesce(sum(events) filter (where tenant_id = '') over (), 0)::bigint as of_others,
    count(*) filter (where tenant_id <> '') over () as tenants,
    count(resembles) filter (where last_at > now() - interval '1 hour') over () as resembling
from (
    select u.tenant_id, u.event_type, u.events, u.last_at,
        case when exists (select from webhook_subscriptions s where s.tenant_id = u.resembles)
            then u.resembles end as resembles
    from unknown_tenants u
    where u.last_at > now() - interval '1 day'
        and not exists (select from webhook_subscriptions s where s.tenant_id = u.tenant_id)
        and not exists (select from api_tokens t where t.tenant_id = u.tenant_id)
) unknown
order by resembles is null, tenant_id = '', last_at desc, tenant_id
limit 10
