-- Unless it was disabled or enabled meanwhile.
update webhook_subscriptions
set deliveries_settled = true
where id = $1 and active = $2 and not deliveries_settled
