select id from webhook_deliveries where id = any($1)
