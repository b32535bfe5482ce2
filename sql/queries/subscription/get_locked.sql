select * from webhook_subscriptions where id = $1 for update
