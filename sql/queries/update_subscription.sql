-- Absent is null; what may be cleared says in a flag whether it was given.
update webhook_subscriptions
set url = coalesce($2, url),
    events = coalesce($3, events),
    description = case when $4 then $5 else description end,
    filter = case when $6 then $7 else filter end,
    headers = case when $8 then $9 else headers end,
    format = coalesce($10, format),
    rate_limit = case when $11 then $12 else rate_limit end,
    updated_at = now()
where id = $1
returning *
