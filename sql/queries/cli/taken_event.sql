select tenant_id, body from webhook_events where id = $1
