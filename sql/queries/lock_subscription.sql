select active, disabled_at, disabled_reason, now() as at from webhook_subscriptions where id = $1 for update
