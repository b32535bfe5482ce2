select now() as now, secret, previous_secrets, previous_secrets_expire_at,
    signing_key, previous_signing_keys, previous_signing_keys_expire_at
from webhook_subscriptions
where id = $1
for update
