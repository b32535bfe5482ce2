update webhook_subscriptions
set failing_since = null, failing_reason = null
where id = any($1) and failing_since is not null
