update webhook_subscriptions
set secret = $2,
    secret_hint = $3,
    previous_secrets = $4,
    previous_secrets_expire_at = $5,
    updated_at = now()
where id = $1
returning *
