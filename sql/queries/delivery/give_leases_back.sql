-- What the instance knew of the endpoints goes with the leases: whoever sends to them next
-- begins closed.
with forgotten as (
    update webhook_subscriptions
    set breaker = 'closed', breaker_instance = null
    where id = any($2) and breaker_instance = $1
)
delete from subscription_leases where subscription_id = any($2) and instance = $1
