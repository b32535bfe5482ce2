update webhook_subscriptions
set active = true, disabled_at = null, disabled_reason = null,
    disabled_after_lsn = null, disabled_after_ordinal = null, failing_since = null,
    failing_reason = null, updated_at = now()
where id = $1
returning *
