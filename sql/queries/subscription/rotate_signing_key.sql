update webhook_subscriptions
set signing_key = $2,
    public_key = $3,
    previous_signing_keys = $4,
    previous_signing_keys_expire_at = $5,
    updated_at = now()
where id = $1
returning *
