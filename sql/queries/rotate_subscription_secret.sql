update webhook_subscriptions
set previous_secret = secret,
    previous_secret_expires_at = now() + make_interval(secs => $4),
    secret = $2,
    secret_hint = $3,
    updated_at = now()
where id = $1
returning *
