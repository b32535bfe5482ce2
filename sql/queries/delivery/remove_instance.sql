-- What it had leased is due again. Its breakers go with it: the next instance that sends to those
-- endpoints begins with closed ones.
with ended as (
    update delivery_schedule set lease_owner = null where lease_owner = $1
),
forgotten as (
    update webhook_subscriptions
    set breaker = 'closed', breaker_instance = null
    where breaker_instance = $1
)
delete from instances where id = $1
