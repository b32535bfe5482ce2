insert into webhook_subscriptions
    (id, tenant_id, url, events, description, filter, headers, format, secret, secret_hint, from_lsn,
        rate_limit, ordering)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
returning *
