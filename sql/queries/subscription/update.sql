-- Absent is null; what may be cleared says in a flag whether it was given.
update webhook_subscriptions
set url = coalesce($2, url),
    events = coalesce($3, events),
    description = case when $4 then $5 else description end,
    filter = case when $6 then $7 else filter end,
    filter_error = case when not $6 then filter_error end,
    filter_failed_at = case when not $6 then filter_failed_at end,
    filter_failures = case when $6 then 0 else filter_failures end,
    headers = case when $8 then $9 else headers end,
    format = coalesce($10, format),
    ordering = coalesce($13, ordering),
    ordering_settled = ordering_settled and (ordering = 'row' or $13 is distinct from 'row'),
    ordering_changed_at =
        case when ordering = 'none' and $13 = 'row' then now() else ordering_changed_at end,
    rate_limit = case when $11 then $12 else rate_limit end,
    batch_max_events = case when $14 then $15 else batch_max_events end,
    batch_max_bytes = case when $14 then $16 else batch_max_bytes end,
    batch_max_wait_ms = case when $14 then $17 else batch_max_wait_ms end,
    signing_key = case when $18 then $19 else signing_key end,
    public_key = case when $18 then $20 else public_key end,
    previous_signing_keys = case when $18 then '{}' else previous_signing_keys end,
    previous_signing_keys_expire_at =
        case when $18 then '{}' else previous_signing_keys_expire_at end,
    updated_at = now()
where id = $1
returning *
