update webhook_subscriptions
set active = false, disabled_at = now(), disabled_reason = $2, updated_at = now()
where id = $1 and active
