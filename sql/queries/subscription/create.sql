insert into webhook_subscriptions
    (id, tenant_id, url, events, description, filter, headers, format, secret, secret_hint, from_lsn,
        rate_limit, ordering, batch_max_events, batch_max_bytes, batch_max_wait_ms,
        signing_key, public_key)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
returning *
