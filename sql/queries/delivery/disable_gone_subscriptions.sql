-- The receiver answered 410: it wants nothing more.
update webhook_subscriptions
set active = false, disabled_at = now(), disabled_reason = 'the endpoint answered 410 Gone',
    updated_at = now()
where id = any($1) and active
returning id, tenant_id, disabled_reason
