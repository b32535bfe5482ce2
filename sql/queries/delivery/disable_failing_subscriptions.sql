-- Failing for $2 seconds or more. Another instance may have seen it succeed, or it
-- was enabled again: the store's word counts, not this process's memory.
update webhook_subscriptions
set active = false, disabled_at = now(),
    disabled_reason = format('every attempt failed since %s',
        to_char(failing_since at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
    updated_at = now()
where id = any($1) and active and failing_since <= clock_timestamp() - make_interval(secs => $2)
returning id, tenant_id, disabled_reason
