select id, active from webhook_subscriptions where not deliveries_settled order by id
