-- An infinite time has no difference to another, and must not fail all of them.
select id, xmin::text::bigint as row_version, version, tenant_id, url, events, filter, headers, format, rate_limit, ordering, ordering_settled,
    batch_max_events, batch_max_bytes, batch_max_wait_ms, active, from_lsn, created_at, secret,
    previous_secrets,
    array(
        select (extract(epoch from expires_at) - extract(epoch from now()))::float8
        from unnest(previous_secrets_expire_at) with ordinality as previous (expires_at, place)
        order by place
    ) as previous_secrets_left,
    signing_key,
    previous_signing_keys,
    array(
        select (extract(epoch from expires_at) - extract(epoch from now()))::float8
        from unnest(previous_signing_keys_expire_at) with ordinality as previous (expires_at, place)
        order by place
    ) as previous_signing_keys_left
from webhook_subscriptions
where id = any ($1)
