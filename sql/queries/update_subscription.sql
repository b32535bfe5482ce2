-- Absent is null; what may be cleared says in a flag whether it was given.
update webhook_subscriptions
set url = coalesce($2, url),
    events = coalesce($3, events),
    description = case when $4 then $5 else description end,
    filter = case when $6 then $7 else filter end,
    headers = case when $8 then $9 else headers end,
    format = coalesce($10, format),
    rate_limit = case when $11 then $12 else rate_limit end,
    batch_max_events = case when $13 then $14 else batch_max_events end,
    batch_max_bytes = case when $13 then $15 else batch_max_bytes end,
    batch_max_wait_ms = case when $13 then $16 else batch_max_wait_ms end,
    updated_at = now()
where id = $1
returning *
