-- What it had leased is due again. What it knew of endpoints goes with it: whoever sends to them
-- next begins closed.
with ended as (
    update delivery_schedule set lease_owner = null where lease_owner = $1
),
forgotten as (
    update webhook_subscriptions
    set breaker = 'closed', breaker_instance = null
    where breaker_instance = $1
)
delete from instances where id = $1
