select row_key from webhook_events where id = $1
