select secret from webhook_subscriptions where id = $1
