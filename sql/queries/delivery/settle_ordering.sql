-- Unless it was changed once more meanwhile.
update webhook_subscriptions
set ordering_settled = true
where id = $1 and not ordering_settled and ordering_changed_at = $2
