select id, tenant_id, url, events, filter, headers, format, rate_limit, ordering, ordering_settled,
    batch_max_events, batch_max_bytes, batch_max_wait_ms, active, from_lsn, created_at, secret,
    case when previous_secret_expires_at > now() then previous_secret end as previous_secret,
    extract(epoch from previous_secret_expires_at - now())::float8 as previous_secret_expires_in
from webhook_subscriptions
