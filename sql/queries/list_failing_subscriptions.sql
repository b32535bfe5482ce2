select id, failing_since from webhook_subscriptions where failing_since is not null and active
