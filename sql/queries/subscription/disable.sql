-- For this reason; where there is none, as every attempt has failed for $3 seconds or more. Of
-- that the store's word counts, not a process's memory: another instance may have seen it
-- succeed, or it was enabled again.
update webhook_subscriptions
set active = false, disabled_at = now(), updated_at = now(),
    disabled_reason = coalesce($2, format('every attempt failed since %s',
        to_char(failing_since at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))
where id = any ($1) and active
    and ($2::text is not null or failing_since <= clock_timestamp() - make_interval(secs => $3))
returning id, tenant_id, disabled_reason
