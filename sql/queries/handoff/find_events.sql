select id from webhook_events where id = any($1)
