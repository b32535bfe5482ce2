select * from webhook_subscriptions where id < $1 order by id desc limit $2
