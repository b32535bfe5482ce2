select id from webhook_events order by id desc limit 1
