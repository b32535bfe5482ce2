-- What waits for a disabled subscription waits until it is enabled; one that was enabled
-- meanwhile parks nothing.
with disabled as (
    select id from webhook_subscriptions where id = any($1) and not active for share
),
waiting as (
    select s.delivery_id
    from disabled d
    join delivery_schedule s on s.subscription_id = d.id
    where s.status in ('pending', 'held')
    union all
    select s.delivery_id
    from disabled d
    join delivery_schedule s on s.subscription_id = d.id
    where s.status = 'open'
)
update delivery_schedule s
set status = 'parked', parked_reason = 'disabled'
from waiting w
where s.delivery_id = any (array[w.delivery_id]) and s.status in ('pending', 'held', 'open')
    and s.lease_owner is null
